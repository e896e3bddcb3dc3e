//! Reading files that somebody else puts there: what a path leads to may be a pipe that nobody
//! writes, a device without an end, or larger than memory.

use std::{
    fs::{FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Reads a regular file of at most `most` bytes, wherever symbolic links lead.
///
/// # Errors
/// When it cannot be read, is something else than a file, or larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // A pipe is opened at once then; a regular file does not care.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    // Of what was opened: the path may lead elsewhere by now.
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        let why = format!("it is {}, and must be a regular file", name(kind));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it is larger than the {} that it may have", size(most));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// [`read`], as text.
///
/// # Errors
/// As [`read`], and when it is not UTF-8.
pub fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "no file"
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn refused(path: &Path) -> String {
        read(path, 1 << 20).unwrap_err().to_string()
    }

    /// Opening waited for a writer for ever, and reading for the end of what has none.
    #[test]
    fn only_a_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(refused(&fifo), "it is a FIFO, and must be a regular file");
        for (path, what) in [("/dev/zero", "a device"), ("/", "a directory")] {
            let expected = format!("it is {what}, and must be a regular file");
            assert_eq!(refused(Path::new(path)), expected);
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("file"), &link).unwrap();
        fs::write(dir.path().join("file"), "text").unwrap();
        assert_eq!(read_to_string(&link, 4).unwrap(), "text");
    }

    #[test]
    fn a_file_has_a_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Of which the disk has nothing.
        file.as_file().set_len(6 << 30).unwrap();
        let expected = "it is larger than the 1 MiB that it may have";
        assert_eq!(refused(file.path()), expected);
        fs::write(file.path(), b"\xff").unwrap();
        let error = read_to_string(file.path(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
