//! What does the operator's end say to a shell?

/// Kind, and length of what follows.
const HEAD_BYTES: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Input(Vec<u8>),
    Window { columns: u16, rows: u16 },
    End,
}

/// Takes whole frames off the front; the beginning of another stays. Kinds that a newer server may know are left out.
pub(super) fn take(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let (mut frames, mut from) = (Vec::new(), 0);
    while let Some([kind, high, low]) = bytes[from..].first_chunk::<HEAD_BYTES>() {
        let begin = from + HEAD_BYTES;
        let end = begin + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(data) = bytes.get(begin..end) else { break };
        match (kind, data) {
            (0, data) => frames.push(Frame::Input(data.to_vec())),
            (1, [c1, c2, r1, r2]) => frames
                .push(Frame::Window { columns: u16::from_be_bytes([*c1, *c2]), rows: u16::from_be_bytes([*r1, *r2]) }),
            (2, _) => frames.push(Frame::End),
            (_, _) => {}
        }
        from = end;
    }
    bytes.drain(..from);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_the_bytes_are_split() {
        let all = b"\x00\x00\x02ls\x07\x00\x01x\x01\x00\x04\x00\x50\x00\x18\x01\x00\x01\x00\x00\x00\x00\x02\x00\x00";
        let expected =
            [Frame::Input(b"ls".to_vec()), Frame::Window { columns: 80, rows: 24 }, Frame::Input(vec![]), Frame::End];
        for split in 0..=all.len() {
            let mut bytes = all[..split].to_vec();
            let mut frames = take(&mut bytes);
            bytes.extend_from_slice(&all[split..]);
            frames.extend(take(&mut bytes));
            assert_eq!((frames.as_slice(), bytes.len()), (&expected[..], 0), "split at {split}");
        }
    }
}
