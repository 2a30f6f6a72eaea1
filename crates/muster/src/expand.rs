//! Is a file one compressed stream, and what is in it?
//!
//! Two versions of a compressed archive have hardly a byte in common, so that nothing can be spared between them. Its
//! content travels compressed all the same: the server sees to that (docs/deltas.md).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use muster_vocab::limit;

use crate::exit::{Failed, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// Known by name only.
    Xz,
}

impl Compression {
    /// By the first bytes; the file is at its start again afterwards.
    pub fn of(file: &mut File) -> io::Result<Option<Self>> {
        let mut first = [0; 6];
        let mut got = 0;
        while got < first.len() {
            match file.read(&mut first[got..])? {
                0 => break,
                count => got += count,
            }
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(match first {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x1f, 0x8b, 0x08, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Xz),
            _ => None,
        })
    }

    /// What a person is told who pushes such a file as it is.
    #[must_use]
    pub fn hint(self, path: &Path) -> String {
        let name = path.display();
        match self {
            Self::Zstd | Self::Gzip => format!(
                "{name} is compressed: devices fetch all of it at each update. Pushed with --expand, they fetch only \
                 what changed, and that is compressed all the same."
            ),
            Self::Xz => format!(
                "{name} is compressed: devices fetch all of it at each update. Expand it (unxz) before it is pushed, \
                 and they fetch only what changed, compressed all the same."
            ),
        }
    }
}

/// The content of a compressed file, in a file that goes with its handle; and what to call it.
pub fn expand(path: &Path, mut file: File) -> Outcome<(File, String)> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let found = Compression::of(&mut file).with_context(|| format!("reading {}", path.display()))?;
    let mut out = tempfile::tempfile().context("making a file for what is expanded")?;
    let most = limit::ARTIFACT_BYTES_MAX;
    let reader = BufReader::new(file);
    let copied = match found {
        Some(Compression::Zstd) => zstd::stream::Decoder::with_buffer(reader)
            .and_then(|content| io::copy(&mut content.take(most + 1), &mut out)),
        Some(Compression::Gzip) => io::copy(&mut flate2::bufread::MultiGzDecoder::new(reader).take(most + 1), &mut out),
        Some(Compression::Xz) => {
            return Err(Failed::Usage(format!("{name} is an xz file: expand it with unxz first")));
        }
        None => {
            return Err(Failed::Usage(format!("{name} is not compressed by zstd or gzip: push it without --expand")));
        }
    };
    let bytes = copied.with_context(|| format!("expanding {}", path.display()))?;
    if bytes > most {
        return Err(Failed::Usage(format!("{name} expands to more than the {most} bytes of the largest artifact")));
    }
    out.seek(SeekFrom::Start(0)).context("reading what was expanded")?;
    Ok((out, bare(&name)))
}

/// `site.tar.zst` holds `site.tar`.
fn bare(name: &str) -> String {
    if let Some(stem) = name.strip_suffix(".tgz").or_else(|| name.strip_suffix(".tzst")) {
        return format!("{stem}.tar");
    }
    let stem = [".zst", ".gz"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    stem.filter(|stem| !stem.is_empty()).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    fn content(path: &str, bytes: &[u8]) -> (Vec<u8>, String) {
        let (mut out, name) = expand(Path::new(path), file(bytes)).unwrap();
        let mut all = Vec::new();
        out.read_to_end(&mut all).unwrap();
        (all, name)
    }

    #[test]
    fn zstd_and_gzip_are_expanded_and_named_after_their_content() {
        let text = b"the same again and again and again".repeat(100);
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        assert_eq!(content("/x/site.tar.zst", &zstd), (text.clone(), "site.tar".into()));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(content("site.tgz", &gzip), (text.clone(), "site.tar".into()));
        // Two members are one file: RFC 1952 2.2.
        assert_eq!(content("two.gz", &[gzip.clone(), gzip].concat()).0.len(), 2 * text.len());
    }

    #[test]
    fn what_cannot_be_expanded_is_refused_with_what_to_do() {
        let refused = |bytes: &[u8]| expand(Path::new("a.tar"), file(bytes)).unwrap_err().to_string();
        assert!(refused(b"plain").contains("without --expand"));
        assert!(refused(b"\xfd7zXZ\0").contains("unxz"));
        let zstd = zstd::encode_all(&b"text that goes on"[..], 3).unwrap();
        assert!(refused(&zstd[..zstd.len() - 4]).contains("expanding a.tar"));
        assert!(refused(b"").contains("without --expand"));
    }
}
