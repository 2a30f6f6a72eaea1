//! How is an initramfs written? As a cpio archive in the format "newc", which the kernel unpacks.
//!
//! Written here rather than by the program `cpio`, because an archive may hold a device node that nobody but root
//! could make in a folder. All owners are root and all times zero: the same content is the same archive.

/// Kinds of files, as `st_mode` has them.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CONSOLE: u32 = 0o020_600;
/// The kernel's first console is character device 5:1.
const CONSOLE_NUMBER: (u32, u32) = (5, 1);
/// Headers and contents begin at multiples of this many bytes.
const ALIGNMENT: usize = 4;
const END: &str = "TRAILER!!!";

#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Parents come before what is in them.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// `dev/console`, on which the first program finds its standard output.
    pub fn console(&mut self) {
        self.entry("dev/console", CONSOLE, CONSOLE_NUMBER, &[]);
    }

    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("no file of an initramfs has 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("paths are short");
        // Number, mode, owner, group, links, time, size, two of the archive's device, two of the node's, name, check.
        let header =
            [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0].map(|n| format!("{n:08x}"));
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend_from_slice(header.concat().as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}
