//! Files of which every process begins one of its own: what a process writes after another has taken over is not read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files `<name>-<number><extension>` of a directory by number; a directory that is not there has none.
///
/// # Errors
/// What the system says.
pub fn files(directory: &Path, name: &str, extension: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|file| {
            let number = file.to_str()?.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(extension)?;
            number.parse().ok()
        });
        files.extend(number.map(|number| (number, path.clone())));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_by_number_and_others_do_not() {
        let directory = tempfile::tempdir().unwrap();
        for file in
            ["a-000010.log", "a-000009.log", "a.log", "a-000011.new", "a-x.log", "ab-1.log", "b-1.log"]
        {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let found = files(directory.path(), "a", ".log").unwrap();
        let expected = [(9, "a-000009.log"), (10, "a-000010.log")];
        assert_eq!(found, expected.map(|(number, file)| (number, directory.path().join(file))));
        assert_eq!(files(&directory.path().join("none"), "a", "").unwrap(), []);
    }
}
