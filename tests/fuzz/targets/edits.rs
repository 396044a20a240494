//! Small changes to genuine bytes, as a script asks for them.

use super::script::Script;

/// Changes up to four places, or cuts the end off.
pub(crate) fn edited(mut bytes: Vec<u8>, script: &mut Script<'_>) -> Vec<u8> {
    let kinds = script.byte().unwrap_or(1);
    for _ in 0..=kinds % 4 {
        let (Some(at), Some(by)) = (script.u16(), script.byte()) else { break };
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(usize::from(at) % length) {
            *byte ^= by;
        }
    }
    if kinds >= 0xf0 {
        bytes.truncate(bytes.len() - usize::from(kinds & 0x0f).min(bytes.len()));
    }
    bytes
}
