//! Avro forms of the topics' values, in both framings.
