//! The registry's file form: one directory of CSV files (domain.md, Registry).
