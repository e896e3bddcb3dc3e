use crate::netlink::verdicts;

/// The kernel's answers: reading them ends, no more verdicts come out than fit in, and each is
/// what stands at its place in a message of type `NLMSG_ERROR`.
pub fn netlink(data: &[u8]) {
    let found: Vec<_> = verdicts(data).collect();
    assert!(found.len() <= data.len() / 16);
    assert_eq!(found, reference(data));
}

/// Message by message from offsets, where the other one cuts slices.
fn reference(data: &[u8]) -> Vec<(usize, i32)> {
    let word = |at: usize| {
        let bytes = data.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let (Some(length), Some(kind)) = (word(at), word(at + 4)) {
        // Two bytes of type, two of flags.
        if kind.to_ne_bytes()[..2] == 2u16.to_ne_bytes() {
            let (Some(sequence), Some(errno)) = (word(at + 8), word(at + 16)) else {
                break;
            };
            found.push((sequence as usize, errno as i32));
        }
        at += (length as usize).max(16).next_multiple_of(4);
    }
    found
}
