//! What does an operator say to a shell? Frames `[kind u8][length u16 BE][data]`; docs/agent-api.md has the kinds.

/// Before the data: a byte for the kind and two for the length.
const HEAD_BYTES: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Input(Vec<u8>),
    Window {
        columns: u16,
        rows: u16,
    },
    /// No more input will come.
    End,
}

/// Bytes of a frame that hasn't come in full.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// The frames that are complete with these bytes. Kinds that aren't known are left out: the server may be newer.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.held.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut rest = self.held.as_slice();
        while let [kind, high, low, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some((data, behind)) = after.split_at_checked(length) else { break };
            frames.extend(frame(*kind, data));
            rest = behind;
        }
        let taken = self.held.len() - rest.len();
        self.held.drain(..taken);
        assert!(self.held.len() < HEAD_BYTES + usize::from(u16::MAX), "a whole frame is never held back");
        frames
    }
}

fn frame(kind: u8, data: &[u8]) -> Option<Frame> {
    match (kind, data) {
        (0, data) => Some(Frame::Input(data.to_vec())),
        (1, [c1, c0, r1, r0]) => {
            Some(Frame::Window { columns: u16::from_be_bytes([*c1, *c0]), rows: u16::from_be_bytes([*r1, *r0]) })
        }
        (2, _) => Some(Frame::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = b"\x01\0\x04\0\x50\0\x18\x09\0\x02??\0\0\x03ls\n\0\0\0\x02\0\0";

    fn expected() -> Vec<Frame> {
        let (input, nothing) = (Frame::Input(b"ls\n".to_vec()), Frame::Input(vec![]));
        vec![Frame::Window { columns: 80, rows: 24 }, input, nothing, Frame::End]
    }

    #[test]
    fn frames_are_found_however_they_arrive() {
        assert_eq!(Frames::default().take(BYTES), expected());
        for size in 1..BYTES.len() {
            let mut frames = Frames::default();
            let found: Vec<Frame> = BYTES.chunks(size).flat_map(|piece| frames.take(piece)).collect();
            assert_eq!(found, expected(), "in pieces of {size}");
            assert!(frames.held.is_empty());
        }
    }

    #[test]
    fn the_longest_frame_is_held_until_it_is_whole() {
        let mut frames = Frames::default();
        let mut bytes = vec![0, 0xff, 0xff];
        bytes.extend([7; 65535]);
        let last = bytes.pop().unwrap();
        assert_eq!(frames.take(&bytes), []);
        assert_eq!(frames.take(&[last]), [Frame::Input(vec![7; 65535])]);
    }
}
