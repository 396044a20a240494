//! Chunks that arrive whole, and every way in which they do not.

use super::*;

const LANES: usize = 3 * limits::CHUNK_BYTES / 4 + 1000;

fn lanes() -> Vec<u32> {
    (0..LANES as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect()
}

fn bytes_of(lanes: &[u32]) -> Vec<u8> {
    lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
}

fn header(lanes: &[u32]) -> UploadHeader {
    UploadHeader {
        client: secagg::ClientId(1),
        at: messages::Attempt { round: 1, attempt: 1 },
        r2: Digest::sha256(b"r2"),
        digest: Digest::sha256(&bytes_of(lanes)),
        lanes: lanes.len() as u64,
        signature: [0; 64],
    }
}

fn uploaded(lanes: &[u32], from: u64) -> Vec<v1::UploadChunk> {
    let part = |data| v1::UploadChunk { part: Some(v1::upload_chunk::Part::Data(data)) };
    lane_chunks(lanes, from).map(part).collect()
}

fn upload_data(chunk: &mut v1::UploadChunk) -> &mut v1::UploadData {
    match chunk.part.as_mut() {
        Some(v1::upload_chunk::Part::Data(data)) => data,
        other => panic!("{other:?}"),
    }
}

fn model_data(chunk: &mut v1::ModelChunk) -> &mut v1::ModelData {
    match chunk.part.as_mut() {
        Some(v1::model_chunk::Part::Data(data)) => data,
        other => panic!("{other:?}"),
    }
}

fn flip(data: &mut Bytes) {
    let mut bytes = data.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    *data = bytes.into();
}

/// A model of three full chunks and a short one: the verifier, and the messages after the header.
fn model(file: &[u8]) -> (ChunkVerifier, Vec<v1::ModelChunk>) {
    let mut chunks = model_chunks(4, Digest::sha256(b"m"), Bytes::copy_from_slice(file));
    let header = ModelHeader::try_from(chunks.next().unwrap()).unwrap();
    assert_eq!((header.round, header.total_bytes), (4, file.len() as u64));
    (ChunkVerifier::new(header), chunks.collect())
}

#[test]
fn an_upload_arrives_whole_from_any_offset() {
    let lanes = lanes();
    let all = bytes_of(&lanes);
    for from in [0, 1, 4, 4 * 1000 + 3, limits::CHUNK_BYTES, all.len() - 1, all.len()] {
        let mut verifier = UploadVerifier::new(&header(&lanes));
        verifier.resume(&all[..from]).unwrap();
        let mut staged = all[..from].to_vec();
        for chunk in uploaded(&lanes, from as u64) {
            staged.extend(verifier.accept(chunk).unwrap());
            assert_eq!(verifier.received_bytes(), staged.len() as u64);
        }
        assert_eq!(staged, all, "from {from}");
        assert_eq!(verifier.finish(), Ok(()), "from {from}");
    }
    assert!(uploaded(&lanes, all.len() as u64 + 5).is_empty());
    assert!(uploaded(&lanes, u64::MAX).is_empty());
}

#[test]
fn a_flipped_bit_in_an_upload_is_caught_and_its_chunk_named() {
    let lanes = lanes();
    let mut verifier = UploadVerifier::new(&header(&lanes));
    let mut chunks = uploaded(&lanes, 0);
    flip(&mut upload_data(&mut chunks[2]).data);
    let mut results = chunks.into_iter().map(|chunk| verifier.accept(chunk));
    assert!(results.next().unwrap().is_ok() && results.next().unwrap().is_ok());
    let error = results.next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("the chunk at byte 524288 of 790432 arrived damaged: "), "{error}");
    drop(results);
    // What arrived before stays good, and the upload can go on there.
    assert_eq!(verifier.received_bytes(), 524_288);
    for chunk in uploaded(&lanes, 524_288) {
        verifier.accept(chunk).unwrap();
    }
    assert_eq!(verifier.finish(), Ok(()));
}

#[test]
fn an_upload_out_of_place_or_over_its_size_is_refused() {
    let lanes = lanes();
    let all = bytes_of(&lanes);
    let refused = |change: fn(&mut v1::UploadData)| {
        let mut chunk = uploaded(&lanes, 0).remove(0);
        change(upload_data(&mut chunk));
        UploadVerifier::new(&header(&lanes)).accept(chunk).unwrap_err()
    };
    assert!(matches!(refused(|c| c.offset = 4), ChunkError::OutOfOrder { .. }));
    assert!(matches!(refused(|c| c.data = Bytes::new()), ChunkError::Size { got: 0, .. }));
    assert!(matches!(refused(|c| c.sha256.truncate(31)), ChunkError::Malformed(_)));
    // Within the limit of a chunk, but more than the whole upload has.
    assert!(matches!(refused(|c| c.data = vec![0; 800_000].into()), ChunkError::Size { .. }));

    let mut long = header(&lanes);
    long.lanes = limits::LANES_MAX;
    let mut chunk = uploaded(&lanes, 0).remove(0);
    upload_data(&mut chunk).data = vec![0; limits::CHUNK_BYTES_MAX + 1].into();
    assert!(matches!(UploadVerifier::new(&long).accept(chunk), Err(ChunkError::Size { .. })));

    let mut full = UploadVerifier::new(&header(&lanes));
    full.resume(&all).unwrap();
    assert!(matches!(full.resume(&[0]), Err(ChunkError::Size { .. })));
    for part in [None, Some(v1::upload_chunk::Part::Header(OfRun::from(header(&lanes)).into()))] {
        let refused = UploadVerifier::new(&header(&lanes)).accept(v1::UploadChunk { part });
        assert!(matches!(refused, Err(ChunkError::Malformed(_))));
    }
}

#[test]
fn an_upload_that_ends_early_or_is_another_one_is_not_whole() {
    let lanes = lanes();
    let all = bytes_of(&lanes);
    let mut early = UploadVerifier::new(&header(&lanes));
    early.resume(&all[..all.len() - 1]).unwrap();
    let total = all.len() as u64;
    assert_eq!(early.finish(), Err(ChunkError::Truncated { received: total - 1, total }));

    let mut other = lanes.clone();
    other[LANES - 1] ^= 1;
    let mut verifier = UploadVerifier::new(&header(&lanes));
    for chunk in uploaded(&other, 0) {
        verifier.accept(chunk).unwrap();
    }
    assert_eq!(verifier.finish(), Err(ChunkError::WholeDigest));
}

#[test]
fn a_model_arrives_whole() {
    for bytes in [1, limits::CHUNK_BYTES, limits::CHUNK_BYTES + 1, 790_432] {
        let file: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        let (mut verifier, chunks) = model(&file);
        assert_eq!(chunks.len(), bytes.div_ceil(limits::CHUNK_BYTES));
        let got: Vec<u8> = chunks.into_iter().flat_map(|c| verifier.accept(c).unwrap()).collect();
        assert_eq!(got, file);
        assert_eq!(verifier.finish(), Ok(()));
    }
}

#[test]
fn a_flipped_bit_in_a_model_is_caught_and_its_chunk_named() {
    let (mut verifier, mut chunks) = model(&[7; 790_432]);
    flip(&mut model_data(&mut chunks[2]).data);
    let error = chunks.into_iter().find_map(|c| verifier.accept(c).err()).unwrap().to_string();
    assert!(error.starts_with("chunk 3 of 4 arrived damaged: "), "{error}");
}

#[test]
fn a_model_chunk_out_of_order_short_or_repeated_is_refused() {
    let file = [7; 790_432];
    let (mut verifier, mut chunks) = model(&file);
    let error = verifier.accept(chunks[1].clone()).unwrap_err().to_string();
    assert_eq!(error, "chunk 2 of 4 arrived where chunk 1 of 4 was due");

    let first = model_data(&mut chunks[0]);
    first.data = first.data.slice(1..);
    first.sha256 = Sha256::digest(&first.data).to_vec();
    assert!(matches!(verifier.accept(chunks[0].clone()), Err(ChunkError::Size { got: 262_143, .. })));

    let (mut verifier, chunks) = model(&file);
    let last = chunks.last().unwrap().clone();
    chunks.into_iter().for_each(|c| drop(verifier.accept(c).unwrap()));
    assert!(matches!(verifier.accept(last.clone()), Err(ChunkError::OutOfOrder { .. })));
    let mut beyond = last;
    *model_data(&mut beyond) =
        v1::ModelData { index: 4, data: Bytes::new(), sha256: Sha256::digest(b"").to_vec() };
    assert!(matches!(verifier.accept(beyond), Err(ChunkError::Size { got: 0, need: 0, .. })));
}

#[test]
fn a_model_that_ends_early_or_is_another_one_is_not_whole() {
    let (verifier, _) = model(&[7; 1000]);
    assert_eq!(verifier.finish(), Err(ChunkError::Truncated { received: 0, total: 1000 }));
    let (mut verifier, _) = model(&[7; 1000]);
    let (_, other) = model(&[8; 1000]);
    other.into_iter().for_each(|c| drop(verifier.accept(c).unwrap()));
    assert_eq!(verifier.finish(), Err(ChunkError::WholeDigest));
}
