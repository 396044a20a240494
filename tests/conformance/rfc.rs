//! The cryptography that secure aggregation is built on, at the versions that it is built with, against the
//! standards' own vectors.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret, x25519};

const SUNSCREEN: &[u8] =
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
    future, sunscreen would be it.";

#[test]
fn x25519_multiplies_as_rfc_7748_section_5_2_says() {
    for (scalar, point, product) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(hex::encode(x25519(bytes(scalar), bytes(point))), product);
    }
}

#[test]
fn x25519_iterated_a_thousand_times_ends_where_rfc_7748_says() {
    let mut scalar = [0; 32];
    scalar[0] = 9;
    let mut point = scalar;
    for step in 1..=1000 {
        (scalar, point) = (x25519(scalar, point), scalar);
        if step == 1 {
            let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(hex::encode(scalar), once);
        }
    }
    let thousand = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    assert_eq!(hex::encode(scalar), thousand);
}

#[test]
fn x25519_agrees_as_rfc_7748_section_6_1_says() {
    let alice = StaticSecret::from(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = StaticSecret::from(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let (alice_public, bob_public) = (PublicKey::from(&alice), PublicKey::from(&bob));
    let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    assert_eq!(hex::encode(alice_public.as_bytes()), public);
    let public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    assert_eq!(hex::encode(bob_public.as_bytes()), public);
    let agreed = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!(hex::encode(alice.diffie_hellman(&bob_public).as_bytes()), agreed);
    assert_eq!(hex::encode(bob.diffie_hellman(&alice_public).as_bytes()), agreed);
}

#[test]
fn hkdf_sha_256_derives_as_rfc_5869_appendix_a_says() {
    struct Case {
        key_material: Vec<u8>,
        salt: Option<Vec<u8>>,
        info: Vec<u8>,
        pseudorandom_key: &'static str,
        output: &'static str,
    }
    let cases = [
        Case {
            key_material: vec![0x0b; 22],
            salt: Some((0x00..=0x0c).collect()),
            info: (0xf0..=0xf9).collect(),
            pseudorandom_key: "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            output: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                     34007208d5b887185865",
        },
        Case {
            key_material: (0x00..=0x4f).collect(),
            salt: Some((0x60..=0xaf).collect()),
            info: (0xb0..=0xff).collect(),
            pseudorandom_key: "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            output: "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                     59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                     cc30c58179ec3e87c14c01d5c1f3434f1d87",
        },
        Case {
            key_material: vec![0x0b; 22],
            salt: None,
            info: Vec::new(),
            pseudorandom_key: "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            output: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
                     9d201395faa4b61a96c8",
        },
    ];
    for case in cases {
        let (key, hkdf) = Hkdf::<Sha256>::extract(case.salt.as_deref(), &case.key_material);
        assert_eq!(hex::encode(key), case.pseudorandom_key);
        let mut output = vec![0; case.output.len() / 2];
        hkdf.expand(&case.info, &mut output).unwrap();
        assert_eq!(hex::encode(output), case.output);
    }
}

#[test]
fn chacha20_streams_as_rfc_8439_section_2_3_2_and_appendix_a_say() {
    let zeros = keystream([0; 32], [0; 12], 0);
    assert_eq!(
        hex::encode(zeros),
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
         da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    );
    let block = keystream(counted(0), bytes("000000090000004a00000000"), 1);
    assert_eq!(
        hex::encode(block),
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e\
         d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    );
}

#[test]
fn chacha20_encrypts_as_rfc_8439_section_2_4_2_says() {
    let mut text = SUNSCREEN.to_vec();
    let mut cipher = ChaCha20::new(&counted(0).into(), &bytes("000000000000004a00000000").into());
    cipher.seek(64u64);
    cipher.apply_keystream(&mut text);
    assert_eq!(
        hex::encode(text),
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b\
         f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8\
         07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736\
         5af90bbf74a35be6b40b8eedf2785e42874d"
    );
}

#[test]
fn chacha20_poly1305_seals_as_rfc_8439_section_2_8_2_says_and_opens_nothing_else() {
    let cipher = ChaCha20Poly1305::new(&counted(0x80).into());
    let nonce = bytes::<12>("070000004041424344454647").into();
    let aad = bytes::<12>("50515253c0c1c2c3c4c5c6c7");
    let mut sealed = cipher.encrypt(&nonce, Payload { msg: SUNSCREEN, aad: &aad }).unwrap();
    assert_eq!(
        hex::encode(&sealed),
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
         3ff4def08e4b7a9de576d26586cec64b6116\
         1ae10b594f09e26a7e902ecbd0600691"
    );
    let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &aad }).unwrap();
    assert_eq!(opened, SUNSCREEN);
    assert!(cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &aad[1..] }).is_err());
    sealed[0] ^= 1;
    assert!(cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &aad }).is_err());
}

#[test]
fn ed25519_signs_as_rfc_8032_section_7_1_says_and_verifies_nothing_else() {
    let long = include_str!("rfc8032-test-1024.hex").split_whitespace().collect::<String>();
    for (secret, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
            "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
            &long,
            "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350\
             aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e30a6ac00a9704a188a03",
        ),
    ] {
        let message = hex::decode(message).unwrap();
        let key = SigningKey::from_bytes(&bytes(secret));
        assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
        assert_eq!(hex::encode(key.sign(&message).to_bytes()), signature);
        let public = VerifyingKey::from_bytes(&bytes(public)).unwrap();
        let mut signature: [u8; 64] = bytes(signature);
        public.verify_strict(&message, &Signature::from_bytes(&signature)).unwrap();
        signature[0] ^= 1;
        assert!(public.verify_strict(&message, &Signature::from_bytes(&signature)).is_err());
    }
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Bytes that count up from `first`.
fn counted(first: u8) -> [u8; 32] {
    std::array::from_fn(|place| first + place as u8)
}

fn keystream(key: [u8; 32], nonce: [u8; 12], block: u64) -> [u8; 64] {
    let mut cipher = ChaCha20::new(&key.into(), &nonce.into());
    cipher.seek(64 * block);
    let mut stream = [0; 64];
    cipher.write_keystream(&mut stream);
    stream
}
