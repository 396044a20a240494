use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

/// Reads complete subtrees from leaves, by the definition.
fn reader(leaves: &[Hash]) -> impl FnMut(u8, u64) -> Result<Hash, ()> {
    fn complete(leaves: &[Hash]) -> Hash {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                node_hash(&complete(left), &complete(right))
            }
        }
    }
    |level, index| {
        let width = 1usize << level;
        let start = index as usize * width;
        Ok(complete(leaves.get(start..start + width).ok_or(())?))
    }
}

fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_be_bytes().to_vec()).collect()
}

fn leaves(count: u64) -> Vec<Hash> {
    entries(count).iter().map(|entry| leaf_hash(entry)).collect()
}

fn tree(leaves: &[Hash], size: u64) -> Hash {
    root(size, &mut reader(leaves)).unwrap()
}

/// The leaves and the roots of the reference implementation of Certificate Transparency.
const REFERENCE: [(&str, &str); 8] = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
];

#[test]
fn roots_are_those_of_the_reference_implementation() {
    let leaves: Vec<Hash> =
        REFERENCE.iter().map(|(entry, _)| leaf_hash(&hex::decode(entry).unwrap())).collect();
    for (size, (_, expected)) in (1..).zip(REFERENCE) {
        assert_eq!(hex::encode(tree(&leaves, size)), expected, "size {size}");
    }
    assert_eq!(
        hex::encode(tree(&leaves, 0)),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn every_inclusion_proof_of_small_trees_verifies_at_its_own_place_only() {
    let leaves = leaves(70);
    for size in 1..=70 {
        let root = tree(&leaves, size);
        for index in 0..size {
            let proof = inclusion_proof(index, size, &mut reader(&leaves)).unwrap();
            for other in 0..size {
                let leaf = &leaves[other as usize];
                let holds = verify_inclusion(size, &root, other, leaf, &proof);
                assert_eq!(holds, other == index, "{index} as {other} of {size}");
            }
        }
    }
}

#[test]
fn every_consistency_proof_of_small_trees_verifies_for_its_own_sizes_only() {
    let leaves = leaves(70);
    for new in 0..=70u64 {
        for old in 0..=new {
            let proof = consistency_proof(old, new, &mut reader(&leaves)).unwrap();
            let (old_root, new_root) = (tree(&leaves, old), tree(&leaves, new));
            assert!(verify_consistency(old, &old_root, new, &new_root, &proof), "{old} to {new}");
            let shorter = old.saturating_sub(1);
            let wrong = verify_consistency(shorter, &old_root, new, &new_root, &proof);
            assert!(!wrong || shorter == old, "{old} to {new}, taken for {shorter}");
        }
    }
}

#[test]
fn a_rewritten_beginning_has_no_consistency_proof() {
    let honest = leaves(300);
    let mut rewritten = honest.clone();
    rewritten[17] = leaf_hash(b"rewritten");
    for new in [18, 64, 200, 256, 300] {
        for old in [18, 20, 32, 64, 150].into_iter().filter(|old| *old <= new) {
            let proof = consistency_proof(old, new, &mut reader(&rewritten)).unwrap();
            let (old_root, new_root) = (tree(&honest, old), tree(&rewritten, new));
            assert!(!verify_consistency(old, &old_root, new, &new_root, &proof), "{old} to {new}");
        }
    }
}

#[test]
fn proofs_outside_the_tree_prove_nothing() {
    let leaves = leaves(5);
    let root = tree(&leaves, 5);
    assert_eq!(inclusion_proof(5, 5, &mut reader(&leaves)), Ok(vec![]));
    assert!(!verify_inclusion(5, &root, 5, &leaves[0], &[]));
    assert!(!verify_inclusion(0, &tree(&leaves, 0), 0, &leaves[0], &[]));
    assert_eq!(consistency_proof(6, 5, &mut reader(&leaves)), Ok(vec![]));
    assert!(!verify_consistency(6, &root, 5, &root, &[]));
    assert!(!verify_consistency(u64::MAX, &root, 5, &root, &[root]));
    assert!(!verify_consistency(3, &root, u64::MAX, &root, &[]));
    assert!(!verify_consistency(0, &root, 5, &root, &[]), "the empty tree has one root");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn roots_and_proofs_equal_those_of_another_implementation(size in 1u64..700, a in 0u64..700, b in 0u64..700) {
        let (index, old) = (a % size, b % size + 1);
        let leaves = leaves(size);
        let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        for entry in entries(size) {
            oracle.push(entry);
        }
        let expected: Hash = (*oracle.root().as_bytes()).into();
        prop_assert_eq!(tree(&leaves, size), expected);
        let inclusion = inclusion_proof(index, size, &mut reader(&leaves)).unwrap();
        let expected = oracle.prove_inclusion(index as usize);
        prop_assert_eq!(inclusion.concat(), expected.as_bytes());
        // The oracle proves additions, of which there must be some.
        if old < size {
            let consistency = consistency_proof(old, size, &mut reader(&leaves)).unwrap();
            let expected = oracle.prove_consistency((size - old) as usize);
            prop_assert_eq!(consistency.concat(), expected.as_bytes());
        }
    }

    #[test]
    fn a_proof_with_one_changed_bit_or_another_length_proves_nothing(
        size in 2u64..700, a in 0u64..700, b in 0u64..700, bit in 0usize..256, longer in any::<bool>(),
    ) {
        let leaves = leaves(size);
        let new_root = tree(&leaves, size);
        let (index, old) = (a % size, b % (size - 1) + 1);
        let spoil = |mut proof: Vec<Hash>| {
            let at = bit % proof.len();
            let mut flipped = proof.clone();
            flipped[at][bit / 8] ^= 1 << (bit % 8);
            if longer { proof.push([7; 32]) } else { proof.truncate(proof.len() - 1) }
            [flipped, proof]
        };
        let leaf = &leaves[index as usize];
        for proof in spoil(inclusion_proof(index, size, &mut reader(&leaves)).unwrap()) {
            prop_assert!(!verify_inclusion(size, &new_root, index, leaf, &proof));
        }
        let old_root = tree(&leaves, old);
        for proof in spoil(consistency_proof(old, size, &mut reader(&leaves)).unwrap()) {
            prop_assert!(!verify_consistency(old, &old_root, size, &new_root, &proof));
        }
    }
}
