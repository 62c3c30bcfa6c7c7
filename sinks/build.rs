//! Builds the files of `deploy/clickhouse` in: `migrations.rs` lists them by name for `src/clickhouse/migrate.rs`.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../deploy/clickhouse");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut entries = Vec::new();
    for file in fs::read_dir(&directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            entries.push(format!("Migration {{ name: {name:?}, sql: include_str!({path:?}) }},\n"));
        }
    }
    entries.sort();
    fs::write(Path::new(&env::var("OUT_DIR")?).join("migrations.rs"), format!("&[\n{}]", entries.concat()))?;
    Ok(())
}
