//! Is the signature inside of an image believed only if a key of the project's ring made it? Images and signatures by
//! the tools that people use: openssl, cpio, rauc, mender-artifact and podman. cosign itself is in no package here: its
//! signatures are made by its specification.

use std::path::{Path, PathBuf};
use std::process::Command;

use muster_tests::api::Api;
use muster_tests::operator::{publish, upload};
use muster_tests::part::{run, word};
use muster_tests::podman::Podman;
use muster_tests::rauc::{self, BOARD, bundle_of};
use muster_tests::server::Server;
use muster_tests::swupdate::{self, Image, require};
use serde_json::{Value, json};
use sha2::Digest;

const PAYLOAD: &[u8] = b"a root file system, as far as anybody cares";

/// Tries to publish a release of this image; why not, if it is refused.
fn published(admin: &Api, version: &str, file: &str, image: &[u8]) -> Result<(), String> {
    let component = json!({
        "name": "os", "version": version, "artifacts": [{ "digest": upload(admin, file, image), "name": file }]
    });
    let release = json!({ "name": "os", "version": version, "components": [component] });
    let _ = admin.post("/releases", &release).expect(201);
    let answer = admin.post(&format!("/releases/os/{version}/publish"), &json!({}));
    match answer.status {
        200 => Ok(()),
        409 => Err(answer.at("/detail").as_str().unwrap().to_owned()),
        _ => panic!("{answer}"),
    }
}

fn add_to_ring(admin: &Api, name: &str, file: &Path) {
    let public = std::fs::read_to_string(file).unwrap();
    let _ = admin.post("/key-ring", &json!({ "name": name, "public": public })).expect(201);
}

fn demand(admin: &Api, policy: &Value) {
    let _ = admin.put("/release-policy", policy).expect(200);
}

#[track_caller]
fn openssl(folder: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A key and certificate that an authority has signed: `signer.key`, `signer.crt`, `authority.crt`.
fn chain(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key -out authority.crt",
    );
    openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=signer -keyout signer.key -out signer.csr");
    std::fs::write(folder.join("purpose"), "extendedKeyUsage=codeSigning\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(
        folder,
        "x509 -req -in signer.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 -extfile purpose -out signer.crt",
    );
    (folder.join("signer.key"), folder.join("signer.crt"), folder.join("authority.crt"))
}

#[test]
fn an_image_of_swupdate_is_published_only_with_a_signature_of_the_ring_once_there_is_one() {
    require(&["openssl", "cpio"]);
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        swupdate::Signer::new(folder.path(), "ours").unwrap(),
        swupdate::Signer::new(folder.path(), "theirs").unwrap(),
    );
    let target = folder.path().join("target");
    let image = |version: &'static str| Image { version, target: &target, payload: PAYLOAD };
    let server = Server::start();
    let admin = server.admin();
    // Nobody has said yet whose signatures count.
    let _ = publish(admin, "os", "1", ("os.swu", &image("1").pack(&theirs).unwrap()));
    add_to_ring(admin, "ours", ours.certificate());
    let refused = published(admin, "2", "os.swu", &image("2").pack(&theirs).unwrap()).unwrap_err();
    assert!(refused.contains("os.swu: the signature inside of the image is not to be believed"), "{refused}");
    assert!(refused.contains("by no key of the ring"), "{refused}");
    let refused = published(admin, "3", "os.swu", &image("3").pack_corrupted(&ours).unwrap()).unwrap_err();
    assert!(refused.contains("payload.bin is in the image, and its signed description does not name"), "{refused}");
    published(admin, "4", "os.swu", &image("4").pack(&ours).unwrap()).unwrap();
    // What is no image of this kind is published as ever.
    published(admin, "5", "os.bin", b"some bytes").unwrap();
}

#[test]
fn a_description_signed_with_a_bare_key_counts_like_one_with_a_certificate() {
    require(&["openssl", "cpio"]);
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    openssl(at, "genrsa -out private.pem 2048");
    openssl(at, "rsa -in private.pem -pubout -out public.pem");
    std::fs::write(at.join("sw-description"), "software = { version = \"1\"; };").unwrap();
    openssl(at, "dgst -sha256 -sign private.pem -out sw-description.sig sw-description");
    let pack = "printf 'sw-description\\nsw-description.sig\\n' | cpio --create --quiet --format crc > os.swu";
    assert!(Command::new("sh").args(["-c", pack]).current_dir(at).status().unwrap().success());
    let image = std::fs::read(at.join("os.swu")).unwrap();
    let server = Server::start();
    let admin = server.admin();
    demand(admin, &json!({ "inner_signature": true }));
    let refused = published(admin, "1", "os.swu", &image).unwrap_err();
    assert!(refused.contains("by no key of the ring"), "{refused}");
    add_to_ring(admin, "bare", &at.join("public.pem"));
    let _ = admin.post("/releases/os/1/publish", &json!({})).expect(200);
    let unsigned = "printf 'sw-description\\n' | cpio --create --quiet --format newc > unsigned.swu";
    assert!(Command::new("sh").args(["-c", unsigned]).current_dir(at).status().unwrap().success());
    let unsigned = std::fs::read(at.join("unsigned.swu")).unwrap();
    let refused = published(admin, "2", "os.swu", &unsigned).unwrap_err();
    assert!(refused.contains("an image without a signature of its own"), "{refused}");
    demand(admin, &json!({}));
    let _ = admin.post("/releases/os/2/publish", &json!({})).expect(200);
}

#[test]
fn a_bundle_of_rauc_is_published_only_with_a_signature_of_the_ring() {
    require(&["rauc", "mksquashfs", "openssl"]);
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate, authority) = chain(folder.path());
    let ours = rauc::Signer::with(key, certificate);
    let theirs = rauc::Signer::new(folder.path(), "theirs").unwrap();
    let server = Server::start();
    let admin = server.admin();
    add_to_ring(admin, "authority", &authority);
    for format in ["plain", "verity"] {
        // Squashfs must not find anything to make smaller: a tree over one block is no tree.
        let image: Vec<u8> = (0_u32..40_000).flat_map(|at| sha2::Sha256::digest(at.to_le_bytes())).collect();
        let good = bundle_of(&ours, format, (BOARD, "1"), &image).unwrap();
        published(admin, &format!("{format}-1"), "os.raucb", &good).unwrap_or_else(|why| panic!("{format}: {why}"));
        let stranger = bundle_of(&theirs, format, (BOARD, "2"), &image).unwrap();
        let refused = published(admin, &format!("{format}-2"), "os.raucb", &stranger).unwrap_err();
        assert!(refused.contains("by no key of the ring"), "{format}: {refused}");
        let mut changed = good.clone();
        changed[2000] ^= 1;
        let refused = published(admin, &format!("{format}-3"), "os.raucb", &changed).unwrap_err();
        assert!(refused.contains("it was signed, and changed since"), "{format}: {refused}");
    }
}

#[test]
fn an_artifact_of_mender_is_published_only_with_a_signature_of_the_ring() {
    require(&["mender-artifact", "openssl"]);
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    signers(at);
    openssl(at, "genrsa -traditional -out rsa.key 2048");
    openssl(at, "rsa -in rsa.key -pubout -out rsa.pub");
    std::fs::write(at.join("app"), PAYLOAD).unwrap();
    let pack = |key: Option<&str>, compression: &str| {
        let (app, out) = (at.join("app"), at.join("packed.mender"));
        let mut command = Command::new("mender-artifact");
        command.args(["write", "module-image", "-T", "single-file", "-n", "app-1", "-t", "board"]);
        command.arg("-f").arg(app).arg("-o").arg(&out).args(["--compression", compression]);
        if let Some(key) = key {
            command.arg("-k").arg(at.join(key));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(out).unwrap()
    };
    let server = Server::start();
    let admin = server.admin();
    add_to_ring(admin, "ours", &at.join("ours.pub"));
    add_to_ring(admin, "rsa", &at.join("rsa.pub"));
    let good = [
        ("1.0", "ours.key", "gzip"),
        ("1.1", "ours.key", "lzma"),
        ("1.2", "ours.key", "none"),
        ("1.3", "rsa.key", "gzip"),
    ];
    for (version, key, compression) in good {
        published(admin, version, "app.mender", &pack(Some(key), compression)).unwrap();
    }
    let refused = published(admin, "2", "app.mender", &pack(Some("theirs.key"), "gzip")).unwrap_err();
    assert!(refused.contains("by no key of the ring"), "{refused}");
    let mut changed = pack(Some("ours.key"), "none");
    let payload = changed.windows(PAYLOAD.len()).position(|window| window == PAYLOAD).unwrap();
    changed[payload] ^= 1;
    let refused = published(admin, "3", "app.mender", &changed).unwrap_err();
    assert!(refused.contains("it was signed, and changed since"), "{refused}");
    published(admin, "4", "app.mender", &pack(None, "gzip")).unwrap();
    demand(admin, &json!({ "inner_signature": true }));
    let refused = published(admin, "5", "app.mender", &pack(None, "gzip")).unwrap_err();
    assert!(refused.contains("an image without a signature of its own"), "{refused}");
}

/// Puts a signature beside the images of an archive, where cosign puts it: the archive unpacked in `folder`.
fn sign_as_cosign(folder: &Path, key: &Path) {
    let blob = |text: &str| {
        let digest = muster_vocab::digest::hex(&sha2::Sha256::digest(text));
        std::fs::write(folder.join("blobs/sha256").join(&digest), text).unwrap();
        format!("sha256:{digest}")
    };
    let mut index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": "localhost/muster-web" },
            "image": { "docker-manifest-digest": index["manifests"][0]["digest"] },
            "type": "cosign container image signature"
        },
        "optional": null
    });
    let payload = payload.to_string();
    let digest = blob(&payload);
    let (scratch, key) = (tempfile::tempdir().unwrap(), word(key));
    std::fs::write(scratch.path().join("payload"), &payload).unwrap();
    openssl(scratch.path(), &format!("dgst -sha256 -sign {key} -out signature payload"));
    let signature = std::fs::read(scratch.path().join("signature")).unwrap();
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature);
    let layer = json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest, "size": payload.len(),
        "annotations": { "dev.cosignproject.cosign/signature": signature }
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob("{}"), "size": 2 },
        "layers": [layer]
    });
    let manifest = manifest.to_string();
    let described = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blob(&manifest), "size": manifest.len(),
        "annotations": { "kind": "dev.cosignproject.cosign/sigs" }
    });
    index["manifests"].as_array_mut().unwrap().push(described);
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

/// `ours.key` and `ours.pub`, and the same of theirs.
fn signers(folder: &Path) {
    for name in ["ours", "theirs"] {
        openssl(folder, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
        openssl(folder, &format!("ec -in {name}.key -pubout -out {name}.pub"));
    }
}

#[test]
fn an_image_of_containers_is_published_only_with_a_signature_of_the_ring() {
    require(&["podman", "busybox", "openssl", "tar"]);
    let (podman, folder) = (Podman::new().unwrap(), tempfile::tempdir().unwrap());
    let at = folder.path();
    signers(at);
    let saved = podman.image("localhost/muster-web:latest", "1", "oci-archive");
    std::fs::write(at.join("saved.tar"), &saved).unwrap();
    let signed = |key: Option<&str>| {
        let (unpacked, out) = (tempfile::tempdir_in(at).unwrap(), at.join("signed.tar"));
        let _ = run(&["tar", "-C", word(unpacked.path()), "-xf", word(&at.join("saved.tar"))]);
        if let Some(key) = key {
            sign_as_cosign(unpacked.path(), &at.join(key));
        }
        let _ = run(&["tar", "-C", word(unpacked.path()), "-cf", word(&out), "."]);
        std::fs::read(out).unwrap()
    };
    let server = Server::start();
    let admin = server.admin();
    add_to_ring(admin, "ours", &at.join("ours.pub"));
    published(admin, "1", "web.tar", &signed(Some("ours.key"))).unwrap();
    let refused = published(admin, "2", "web.tar", &signed(Some("theirs.key"))).unwrap_err();
    assert!(refused.contains("by no key of the ring"), "{refused}");
    published(admin, "3", "web.tar", &saved).unwrap();
    demand(admin, &json!({ "inner_signature": true }));
    let refused = published(admin, "4", "web.tar", &signed(None)).unwrap_err();
    assert!(refused.contains("an image without a signature of its own"), "{refused}");
}
