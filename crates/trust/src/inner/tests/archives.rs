//! Artifacts of Mender and archives of containers, well and badly made.

use aws_lc_rs::signature::EcdsaSigningAlgorithm;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

const PAYLOAD: &[u8] = b"an application";

type Files = Vec<(String, Vec<u8>)>;

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, body) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, body.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn key(how: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(how).unwrap()
}

fn ring_of(key: &EcdsaKeyPair) -> Vec<Named> {
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    vec![("factory".into(), Trusted::Key(spki.as_ref().to_vec()))]
}

fn signed(key: &EcdsaKeyPair, text: &[u8]) -> String {
    BASE64.encode(key.sign(&SystemRandom::new(), text).unwrap())
}

fn verified() -> Verdict {
    Verdict::Verified("factory".into())
}

/// As `mender-artifact` writes it, without header.
fn mender(key: &EcdsaKeyPair, packing: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Files {
    let inner = tar(&[("app".into(), PAYLOAD.to_vec())]);
    let version = br#"{"format":"mender","version":3}"#;
    let manifest = format!("{}  data/0000/app\n{}  version\n", sha256(PAYLOAD), sha256(version)).into_bytes();
    let signature = signed(key, &manifest).into_bytes();
    let packed = (format!("data/0000.tar{packing}"), pack(&inner));
    vec![
        ("version".into(), version.to_vec()),
        ("manifest".into(), manifest),
        ("manifest.sig".into(), signature),
        packed,
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_artifact_of_mender_is_believed_whatever_its_payload_is_packed_with() {
    let key = key(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let ring = ring_of(&key);
    assert_eq!(told(&tar(&mender(&key, "", <[u8]>::to_vec)), &ring), verified());
    assert_eq!(told(&tar(&mender(&key, ".gz", gzip)), &ring), verified());
    assert_eq!(told(&tar(&mender(&key, ".zst", |bytes| zstd::encode_all(bytes, 3).unwrap())), &ring), verified());
    let lz4 = told(&tar(&mender(&key, ".lz4", <[u8]>::to_vec)), &ring);
    assert_eq!(lz4, Verdict::Refused(BadInner::Unsupported("the compression of its payload")));
}

#[test]
fn what_a_manifest_does_not_name_or_names_in_vain_stops_an_artifact_of_mender() {
    let key = key(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let (ring, good) = (ring_of(&key), mender(&key, "", <[u8]>::to_vec));
    let changed = |change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        change(&mut files);
        told(&tar(&files), &ring)
    };
    let more = ("manifest-augment".to_owned(), b"x".to_vec());
    let refused = |bad: BadInner| Verdict::Refused(bad);
    assert_eq!(changed(&|files| files.push(more.clone())), refused(BadInner::NotNamed("manifest-augment".into())));
    assert_eq!(changed(&|files| files.push(files[3].clone())), refused(BadInner::NotNamed("data/0000/app".into())));
    assert_eq!(changed(&|files| files.truncate(3)), refused(BadInner::Missing("data/0000/app".into())));
    assert_eq!(changed(&|files| drop(files.remove(2))), Verdict::Unsigned);
    assert_eq!(changed(&|files| files[1].1.push(b'\n')), refused(BadInner::UnknownKey));
    let other = tar(&[("app".into(), b"another application".to_vec())]);
    assert_eq!(changed(&|files| files[3].1.clone_from(&other)), refused(BadInner::Changed));
    assert_eq!(
        told(&tar(&good), &ring_of(&self::key(&ECDSA_P256_SHA256_FIXED_SIGNING))),
        refused(BadInner::UnknownKey)
    );
    let whole = tar(&good);
    let last = whole.len() - 1024;
    assert!(
        (1..last).all(|length| kind(&mut Cursor::new(&whole[..length])).unwrap() != Some(Kind::Mender)
            || told(&whole[..length], &ring) != verified()),
        "a part of it is believed"
    );
}

/// An image with one layer and its signature, as `podman save --format oci-archive` and cosign write them.
struct Image {
    blobs: Files,
    index: serde_json::Value,
    digest: String,
}

impl Image {
    fn new(layer: &[u8]) -> Self {
        let mut image =
            Self { blobs: Vec::new(), index: serde_json::json!({ "schemaVersion": 2 }), digest: String::new() };
        let (config, layer) = (image.blob(b"{}"), image.blob(layer));
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": { "digest": config, "size": 2, "mediaType": "application/vnd.oci.image.config.v1+json" },
            "layers": [{ "digest": layer, "size": 1, "mediaType": "application/vnd.oci.image.layer.v1.tar" }]
        });
        image.digest = image.blob(manifest.to_string().as_bytes());
        image.index["manifests"] = serde_json::json!([{ "digest": image.digest, "size": 1 }]);
        image
    }

    fn blob(&mut self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.blobs.retain(|(name, _)| !name.ends_with(&digest));
        self.blobs.push((format!("blobs/sha256/{digest}"), bytes.to_vec()));
        format!("sha256:{digest}")
    }

    fn sign(&mut self, key: &EcdsaKeyPair, about: &str, purpose: &str) {
        let payload = serde_json::json!({
            "critical": { "identity": { "docker-reference": "" }, "image": { "docker-manifest-digest": about }, "type": purpose },
            "optional": null
        });
        let payload = payload.to_string();
        let annotations = serde_json::json!({ "dev.cosignproject.cosign/signature": signed(key, payload.as_bytes()) });
        let digest = self.blob(payload.as_bytes());
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let layer = serde_json::json!({ "digest": digest, "size": 1, "mediaType": kind, "annotations": annotations });
        let config = self.blob(b"{}");
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": { "digest": config }, "layers": [layer] });
        let digest = self.blob(manifest.to_string().as_bytes());
        self.index["manifests"].as_array_mut().unwrap().push(serde_json::json!({ "digest": digest, "size": 1 }));
    }

    fn archive(&self, more: &[(&str, String)]) -> Vec<u8> {
        let mut files = self.blobs.clone();
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        files.push(("index.json".into(), self.index.to_string().into_bytes()));
        files.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes())));
        tar(&files)
    }
}

const PURPOSE: &str = "cosign container image signature";

#[test]
fn images_of_containers_are_believed_if_somebody_of_the_ring_signed_each() {
    let (key, other) = (key(&ECDSA_P256_SHA256_ASN1_SIGNING), key(&ECDSA_P256_SHA256_ASN1_SIGNING));
    let ring = ring_of(&key);
    let mut image = Image::new(PAYLOAD);
    assert_eq!(told(&image.archive(&[]), &ring), Verdict::Unsigned);
    let about = image.digest.clone();
    image.sign(&other, &about, PURPOSE);
    assert_eq!(told(&image.archive(&[]), &ring), Verdict::Refused(BadInner::UnknownKey));
    image.sign(&key, &about, PURPOSE);
    assert_eq!(told(&image.archive(&[]), &ring), verified(), "one of two is enough");
    let named = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes));
    let (config, layer) = (&named(b"{}"), &named(PAYLOAD));
    let docker =
        |layers: &[&String]| serde_json::json!([{ "Config": config, "RepoTags": ["web:1"], "Layers": layers }]);
    let same = docker(&[layer]).to_string();
    assert_eq!(told(&image.archive(&[("manifest.json", same)]), &ring), verified());
    let twice = docker(&[layer, layer]).to_string();
    assert_eq!(
        told(&image.archive(&[("manifest.json", twice)]), &ring),
        Verdict::Refused(BadInner::NotNamed(config.clone())),
        "Docker's own table may not say something else"
    );
}

#[test]
fn nothing_is_smuggled_into_an_archive_of_containers() {
    let key = key(&ECDSA_P256_SHA256_ASN1_SIGNING);
    let ring = ring_of(&key);
    let mut image = Image::new(PAYLOAD);
    let about = image.digest.clone();
    image.sign(&key, &about, PURPOSE);
    let told = |image: &Image, more: &[(&str, String)]| told(&image.archive(more), &ring);
    assert_eq!(told(&image, &[]), verified());

    // An image beside the signed one.
    let evil = Image::new(b"another");
    let mut two = Image { blobs: image.blobs.clone(), index: image.index.clone(), digest: String::new() };
    two.blobs.extend(evil.blobs.iter().filter(|(name, _)| !image.blobs.iter().any(|(had, _)| had == name)).cloned());
    two.index["manifests"].as_array_mut().unwrap().push(evil.index["manifests"][0].clone());
    assert_eq!(told(&two, &[]), Verdict::Refused(BadInner::NotNamed(evil.digest.clone())));

    // A second table, as readers take it that mind no case.
    let mut cased = Image { blobs: two.blobs.clone(), index: image.index.clone(), digest: String::new() };
    cased.index["Manifests"] = evil.index["manifests"].clone();
    assert_eq!(told(&cased, &[]), Verdict::Refused(BadInner::Broken("its index.json")));

    // A layer that is not what its name says, a file nobody named, a table twice, a signature for something else.
    let mut changed = Image { blobs: image.blobs.clone(), index: image.index.clone(), digest: String::new() };
    changed.blobs[1].1.push(b'!');
    assert_eq!(told(&changed, &[]), Verdict::Refused(BadInner::Changed));
    assert_eq!(
        told(&image, &[("x/layer.tar", "x".into())]),
        Verdict::Refused(BadInner::NotNamed("x/layer.tar".into()))
    );
    let twice = told(&image, &[("index.json", evil.index.to_string())]);
    assert_eq!(twice, Verdict::Refused(BadInner::Broken("it holds a file twice")));
    let mut other = Image::new(PAYLOAD);
    other.sign(&key, &about, "a letter");
    assert_eq!(told(&other, &[]), Verdict::Refused(BadInner::Unreadable("it is made for another purpose")));
}
