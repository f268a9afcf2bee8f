//! Where the flow log's lines go: only whole ones. What a failure leaves of a line is taken back, or
//! ended, before the next. Not what is written, nor when.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where lines go.
pub enum Sink {
    /// A file lines are appended to, which can be made shorter again.
    File(File),
    /// Anything else.
    Stream(Box<dyn Write + Send>),
}

/// Takes lines, and keeps them whole.
pub struct Lines {
    sink: Sink,
    /// Half a line is at the end of what was written.
    torn: bool,
}

impl Lines {
    /// To this sink.
    #[must_use]
    pub const fn new(sink: Sink) -> Self {
        Self { sink, torn: false }
    }

    /// To the end of a file; if that is half a line, behind its end. Who talks to whom is not for
    /// everybody.
    ///
    /// # Errors
    /// If it cannot be opened for appending.
    pub fn append(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let torn = ends_within_line(path).unwrap_or(false);
        Ok(Self { sink: Sink::File(file), torn })
    }

    /// Writes lines, each with its line break; gives how many of them were written whole, and why not
    /// all of them.
    pub fn write(&mut self, lines: &[u8]) -> (u64, io::Result<()>) {
        if self.torn {
            match self.sink.write(b"\n") {
                Ok(1) => self.torn = false,
                Ok(_) => return (0, Err(ErrorKind::WriteZero.into())),
                Err(error) => return (0, Err(error)),
            }
        }
        let mut done = 0;
        let result = loop {
            let left = lines.get(done..).unwrap_or_default();
            if left.is_empty() {
                break self.sink.flush();
            }
            match self.sink.write(left) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(more) => done = done.saturating_add(more),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let written = lines.get(..done).unwrap_or(lines);
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let half = written.len().saturating_sub(whole);
        if half > 0 {
            self.torn = !self.sink.take_back(half);
        }
        (written.iter().filter(|byte| **byte == b'\n').count() as u64, result)
    }
}

impl Sink {
    /// Takes the last bytes back; whether that could be done.
    fn take_back(&self, bytes: usize) -> bool {
        let Self::File(file) = self else { return false };
        let Ok(about) = file.metadata() else { return false };
        let len = about.len().checked_sub(bytes as u64).filter(|_| about.is_file());
        len.is_some_and(|len| file.set_len(len).is_ok())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

/// Whether a file ends within a line: a crash, or a disk that was full, left half of one.
fn ends_within_line(path: &Path) -> io::Result<bool> {
    if !path.metadata()?.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A disk with so much room, shared with whoever makes more.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn new(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn set_room(&self, room: usize) {
            self.0.lock().unwrap().1 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let room = disk.1.saturating_sub(disk.0.len()).min(bytes.len());
            disk.0.extend_from_slice(&bytes[..room]);
            if room == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn of_a_failed_write_the_whole_lines_count_and_half_a_line_ends_before_the_next() {
        for (room, whole, text) in [
            (0, 0, "three\n"),
            (2, 0, "on\nthree\n"),
            (3, 0, "one\nthree\n"),
            (4, 1, "one\nthree\n"),
            (5, 1, "one\nt\nthree\n"),
            (7, 1, "one\ntwo\nthree\n"),
        ] {
            let disk = Disk::new(room);
            let mut lines = Lines::new(Sink::Stream(Box::new(disk.clone())));
            let (written, result) = lines.write(b"one\ntwo\n");
            assert_eq!(written, whole, "{room}");
            assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
            assert_eq!(lines.write(b"lost\n").0, 0, "{room}");
            disk.set_room(100);
            let (written, result) = lines.write(b"three\n");
            assert_eq!((written, result.is_ok(), disk.text().as_str()), (1, true, text), "{room}");
        }
    }

    #[test]
    fn a_file_is_made_shorter_by_half_a_line() {
        let path = std::env::temp_dir().join(format!("lockgate-sink-{}", std::process::id()));
        std::fs::write(&path, "one\ntw").unwrap();
        let lines = Lines::append(&path).unwrap();
        assert!(lines.sink.take_back(2));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        assert!(!lines.sink.take_back(5), "that is more than there is");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn half_a_line_of_an_earlier_run_is_ended() {
        let path = std::env::temp_dir().join(format!("lockgate-half-{}", std::process::id()));
        for (before, after) in [("", "new\n"), ("old\n", "old\nnew\n"), ("ol", "ol\nnew\n")] {
            std::fs::write(&path, before).unwrap();
            assert_eq!(Lines::append(&path).unwrap().write(b"new\n").0, 1);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
