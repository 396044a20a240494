//! What is sealed opens as it was, where it was, whole, or not at all.

use std::io::{Cursor, Read};
use std::path::Path;

use vault::{
    MasterSource, SEGMENT_BYTES_MAX, Vault, VaultError, make_master, read_secret, replace_secret,
    write_secret,
};

fn new_vault(folder: &Path) -> Vault {
    let master = folder.join("master.key");
    make_master(&master).unwrap();
    Vault::create(folder, MasterSource::File(master)).unwrap()
}

/// Bytes in which every segment differs from every other.
fn plaintext(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8 ^ (i / SEGMENT_BYTES_MAX) as u8).collect()
}

/// A finished file and where each of its parts ends: header, segments, trailer.
fn sealed_in_parts(vault: &Vault, chunks: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let (mut sealer, mut sealed) = vault.begin_file(b"here").unwrap();
    let mut ends = vec![sealed.len()];
    for chunk in chunks {
        sealed.extend(sealer.append(chunk).unwrap());
        ends.push(sealed.len());
    }
    sealed.extend(sealer.finish().unwrap());
    ends.push(sealed.len());
    (sealed, ends)
}

#[test]
fn what_is_sealed_opens_only_in_its_own_context() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    for plain in [&b""[..], b"three", &plaintext(100_000)] {
        let sealed = vault.seal(b"here", plain).unwrap();
        assert_eq!(sealed.len(), plain.len() + Vault::SEAL_BYTES);
        assert_eq!(vault.open(b"here", &sealed).unwrap().as_slice(), plain);
        assert!(matches!(vault.open(b"there", &sealed), Err(VaultError::Refused)));
        assert_ne!(vault.seal(b"here", plain).unwrap(), sealed, "the same twice must not show");

        let sealed = vault.seal_file(b"here", plain).unwrap();
        assert_eq!(vault.open_file(b"here", &sealed).unwrap().as_slice(), plain);
        assert_eq!(vault.file_plain_bytes(b"here", Cursor::new(&sealed)).unwrap(), plain.len() as u64);
        assert!(matches!(vault.open_file(b"there", &sealed), Err(VaultError::Refused)));
        assert!(matches!(vault.file_plain_bytes(b"there", Cursor::new(&sealed)), Err(VaultError::Refused)));
        assert!(matches!(vault.open(b"here", &sealed), Err(VaultError::Refused)), "a file is no small thing");
    }
    assert!(vault::is_sealed(&vault.seal(b"here", b"").unwrap()) && !vault::is_sealed(b"plain text"));
    assert!(matches!(vault.open(b"here", b"plain text"), Err(VaultError::NotSealed)));
    assert!(matches!(vault.open_file(b"here", b"plain text"), Err(VaultError::NotSealed)));
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let small = vault.seal(b"here", b"three").unwrap();
    let (file, _) = sealed_in_parts(&vault, &[b"three", b"five"]);
    for bit in 0..small.len() * 8 {
        let mut bad = small.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(vault.open(b"here", &bad).is_err(), "bit {bit}");
    }
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(vault.open_file(b"here", &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_and_what_was_read_before_is_genuine() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let (file, _) = sealed_in_parts(&vault, &[b"three", b"five"]);
    for kept in 0..file.len() {
        let cut = &file[..kept];
        assert!(matches!(vault.open_file(b"here", cut), Err(VaultError::CutShort)), "at {kept}");
        assert!(vault.file_plain_bytes(b"here", Cursor::new(cut)).is_err(), "at {kept}");
        if let Ok(mut reader) = vault.read_file(b"here", cut) {
            let mut read = Vec::new();
            let error = reader.read_to_end(&mut read).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
            assert!(b"threefive".starts_with(&read[..]), "at {kept}");
        }
    }
    let longer = [&file[..], b"x"].concat();
    assert!(matches!(vault.open_file(b"here", &longer), Err(VaultError::Refused)));
}

#[test]
fn segments_left_out_repeated_exchanged_or_of_another_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    // Of one length, so that nothing but the chain tells them apart.
    let chunks: [&[u8]; 3] = [b"seven", b"three", b"eight"];
    let (file, ends) = sealed_in_parts(&vault, &chunks);
    let (other, _) = sealed_in_parts(&vault, &chunks);
    let part = |from: &[u8], i: usize| from[if i == 0 { 0 } else { ends[i - 1] }..ends[i]].to_vec();
    let assembled = |parts: &[usize]| parts.iter().flat_map(|i| part(&file, *i)).collect::<Vec<u8>>();
    assert_eq!(vault.open_file(b"here", &assembled(&[0, 1, 2, 3, 4])).unwrap().as_slice(), chunks.concat());
    for wrong in [
        &[0, 2, 3, 4][..],
        &[0, 1, 3, 4],
        &[0, 1, 2, 4],
        &[0, 2, 1, 3, 4],
        &[0, 1, 1, 2, 3, 4],
        &[0, 1, 2, 3, 3, 4],
        &[0, 1, 2, 3, 4, 4],
        &[0, 4],
    ] {
        assert!(matches!(vault.open_file(b"here", &assembled(wrong)), Err(VaultError::Refused)), "{wrong:?}");
    }
    for replaced in 0..5 {
        let mixed: Vec<u8> =
            (0..5).flat_map(|i| part(if i == replaced { &other } else { &file }, i)).collect();
        assert!(matches!(vault.open_file(b"here", &mixed), Err(VaultError::Refused)), "part {replaced}");
    }
}

/// How a resumed file ends, when it goes on from where it was.
fn ended(vault: &Vault, start: &[u8]) -> (u64, Vec<u8>) {
    let resumed = vault.resume_file(b"here", start).unwrap();
    let (mut sealer, mut file) = match resumed.sealer {
        Some(sealer) => (sealer, start[..resumed.sealed_bytes as usize].to_vec()),
        None => vault.begin_file(b"here").unwrap(),
    };
    file.extend(sealer.append(&b"threefiveseven"[resumed.plain_bytes as usize..]).unwrap());
    file.extend(sealer.finish().unwrap());
    (resumed.plain_bytes, vault.open_file(b"here", &file).unwrap().to_vec())
}

#[test]
fn a_file_cut_or_damaged_anywhere_is_resumed_after_its_last_genuine_segment() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let (file, ends) = sealed_in_parts(&vault, &[b"three", b"five"]);
    // How much plaintext is genuine when all before `at` is: a trailer is cut off.
    let plain = |at: usize| [0, 5, 9, 9][ends.iter().rposition(|end| *end <= at).unwrap_or(0)];
    for at in 0..=file.len() {
        assert_eq!(ended(&vault, &file[..at]), (plain(at), b"threefiveseven".to_vec()), "cut at {at}");
    }
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert_eq!(ended(&vault, &bad), (plain(at), b"threefiveseven".to_vec()), "damaged at {at}");
    }
    for (context, start) in [(&b"there"[..], &file[..ends[1]]), (b"here", b"plain"), (b"here", &[0; 500])] {
        let resumed = vault.resume_file(context, start).unwrap();
        assert_eq!(resumed.plain_bytes, 0);
    }
}

#[test]
fn a_large_file_is_read_as_a_stream_in_pieces_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let plain = plaintext(3 * SEGMENT_BYTES_MAX + 7);
    let sealed = vault.seal_file(b"here", &plain).unwrap();
    for piece in [1_000, SEGMENT_BYTES_MAX, plain.len()] {
        let mut reader = vault.read_file(b"here", &sealed[..]).unwrap();
        let mut read = Vec::new();
        let mut bytes = vec![0; piece];
        loop {
            let count = reader.read(&mut bytes).unwrap();
            if count == 0 {
                break;
            }
            read.extend_from_slice(&bytes[..count]);
        }
        assert!(read == plain, "pieces of {piece}");
    }
}

#[test]
fn key_files_are_private_keep_their_name_and_are_replaced_only_on_request() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let path = folder.path().join("identity.sealed");
    write_secret(&path, &vault, "identity", b"three").unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(write_secret(&path, &vault, "identity", b"five"), Err(VaultError::Exists(_))));
    assert_eq!(read_secret(&path, &vault, "identity").unwrap().as_slice(), b"three");
    assert!(matches!(read_secret(&path, &vault, "authority"), Err(VaultError::Refused)));
    replace_secret(&path, &vault, "identity", b"seven").unwrap();
    assert_eq!(read_secret(&path, &vault, "identity").unwrap().as_slice(), b"seven");
    std::fs::write(&path, b"in the clear").unwrap();
    assert!(matches!(read_secret(&path, &vault, "identity"), Err(VaultError::NotSealed)));
}

#[test]
fn debug_output_shows_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(folder.path());
    let (sealer, _) = vault.begin_file(b"here").unwrap();
    let shown = format!("{vault:?} {sealer:?}");
    assert!(shown.contains("Key(..)"), "{shown}");
    assert!(!shown.contains("Key(["), "{shown}");
    let master = std::fs::read_to_string(folder.path().join("master.key")).unwrap();
    assert!(!shown.contains(master.trim()));
}
