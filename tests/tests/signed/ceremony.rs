//! What people do with keys that are on no server.

use muster_tests::agent::joined;
use muster_tests::operator::{self, action_in, roll_out};
use muster_tests::server::program;
use serde_json::json;

use super::device::{Device, Signed};

#[test]
fn a_signed_release_is_installed_and_an_unsigned_one_is_not() {
    let signed = Signed::start();
    let admin = signed.server.admin();
    let device = Device::start(&signed, "sn-1");
    let release = signed.release("1", b"one");
    signed.sign(&release, &[]);
    let rollout = roll_out(admin, &release, "sn-1", &json!({}));
    let _ = action_in(admin, &rollout, "sn-1", &["finished"]);
    assert_eq!(device.text("app/current/page"), "one");

    let release = signed.release("2", b"nobody signed this");
    let rollout = roll_out(admin, &release, "sn-1", &json!({}));
    let action = action_in(admin, &rollout, "sn-1", &["failed"]);
    let told = json!(operator::reports(admin, action)).to_string();
    assert!(told.contains("no channel that this device follows (stable) vouches for it"), "{told}");
    assert_eq!(device.text("app/current/page"), "one");
    // What a device does not believe is for the security officer.
    let distrust = admin.get("/audit?select=action%20%3D%3D%20device.distrust").expect(200);
    assert_eq!(distrust.at("/items/0/actor"), "device:sn-1", "{distrust}");
    assert_eq!(distrust.at("/items/0/detail/action"), json!(action), "{distrust}");
    assert!(distrust.at("/items/0/detail/why").as_str().unwrap().contains("vouches for it"), "{distrust}");
}

#[test]
fn the_agents_check_names_a_root_that_too_few_have_signed() {
    let signed = Signed::start();
    signed.ceremony("alone", "release", 1, &["ann"]);
    let check = |root: &str| {
        let text = format!(
            "server = \"{}\"\nproject = \"default\"\ndevice = \"sn-1\"\ntoken = \"t\"\n\n[trust]\nroot = \"{}\"\n\
             channels = [\"stable\"]\n",
            signed.server.origin(),
            signed.path(root).display(),
        );
        std::fs::write(signed.path("agent.toml"), text).unwrap();
        let mut check = std::process::Command::new(program("muster-agent").unwrap());
        check.args(["check", "--config"]).arg(signed.path("agent.toml")).output().unwrap()
    };
    let said = check("alone/root.json");
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && why.contains("root has 1 good signatures and needs 2"), "{why}");
    let said = check("ceremony/root.json");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Golden: agents in the field read it.
#[test]
fn an_order_says_which_channels_vouch_for_it() {
    let signed = Signed::start();
    let admin = signed.server.admin();
    let device = joined(&signed.server, &operator::make_gateway_token(admin), "sn-2");
    let release = signed.release("1", b"one");
    signed.sign(&release, &[]);
    let rollout = roll_out(admin, &release, "sn-2", &json!({}));
    let action = action_in(admin, &rollout, "sn-2", &["offered"]);
    let order = device.get(&format!("/actions/{action}")).expect(200).json();
    assert_eq!(order["signed"], json!([{ "channel": "stable", "counter": 1 }]));
    let director = device.get("/metadata/director.json").expect(200).json();
    assert_eq!(director["signed"]["device"], "default/sn-2");
    assert_eq!(director["signed"]["targets"]["stable/app@1"]["custom"], json!({ "counter": 1, "version": "1" }));
    let channel = device.get("/metadata/1.channel-stable.json").expect(200).json();
    assert_eq!(channel["signed"]["targets"], director["signed"]["targets"]);
    let _ = device.get("/metadata/9.root.json").expect(404);
}

#[test]
fn a_way_back_has_to_be_signed_as_a_new_release() {
    let signed = Signed::start();
    let admin = signed.server.admin();
    let device = Device::start(&signed, "sn-1");
    for (version, page) in [("1", b"one".as_slice()), ("2", b"two")] {
        let release = signed.release(version, page);
        signed.sign(&release, &[]);
        let rollout = roll_out(admin, &release, "sn-1", &json!({}));
        let _ = action_in(admin, &rollout, "sn-1", &["finished"]);
    }
    let back = json!({ "allow_downgrade": true });
    let rollout = roll_out(admin, "app@1", "sn-1", &back);
    let action = action_in(admin, &rollout, "sn-1", &["failed"]);
    let told = json!(operator::reports(admin, action)).to_string();
    assert!(told.contains("its counter 1 is below 2"), "{told}");
    assert_eq!(device.text("app/current/page"), "two");

    signed.sign("app@1", &["--counter", "3"]);
    let rollout = roll_out(admin, "app@1", "sn-1", &back);
    let _ = action_in(admin, &rollout, "sn-1", &["finished"]);
    assert_eq!(device.text("app/current/page"), "one");
}

#[test]
fn a_signed_channel_takes_signed_releases_only() {
    let signed = Signed::start();
    let release = signed.release("1", b"one");
    let said = signed.refused(&["channel", "set", "stable", &release]);
    assert!(said.contains("muster release sign app@1 --channel stable"), "{said}");
    signed.sign(&release, &[]);
    signed.muster(&["channel", "set", "stable", &release]);
    // A channel that nobody signs for is as it always was.
    signed.muster(&["channel", "set", "nightly", &release]);
}

#[test]
fn a_ceremony_needs_as_many_people_as_it_says() {
    let signed = Signed::start();
    signed.ceremony("next", "release", 2, &["eve"]);
    let said = signed.refused(&["keys", "ceremony", "check", "next", "--previous", "ceremony/root.json"]);
    assert!(said.contains("root needs 1 more"), "{said}");
    let said = signed.refused(&["keys", "publish", "next/root.json"]);
    assert!(said.contains("devices would refuse it"), "{said}");
    signed.muster(&["keys", "ceremony", "sign", "next", "--key", "bob.pem"]);
    signed.muster(&["keys", "ceremony", "check", "next", "--previous", "ceremony/root.json"]);
    signed.publish("next/root.json");
    signed.key("mallory");
    let said = signed.refused(&["keys", "ceremony", "sign", "next", "--key", "mallory.pem"]);
    assert!(said.contains("has no say in this ceremony"), "{said}");
}

/// SoftHSM: a token in a folder.
#[test]
fn a_token_signs_with_a_key_that_never_leaves_it() {
    const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
    let signed = Signed::start();
    let tokens = signed.path("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = signed.path("softhsm2.conf");
    std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let run = |program: &std::path::Path, words: &[&str]| {
        let mut run = std::process::Command::new(program);
        run.args(words).current_dir(signed.stick.path()).env("SOFTHSM2_CONF", &conf);
        run.env("MUSTER_PKCS11_PIN", "1234").output().unwrap()
    };
    let done = |program: &str, words: &[&str]| {
        let ran = run(program.as_ref(), words);
        assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    done("softhsm2-util", &["--init-token", "--free", "--label", "muster", "--so-pin", "1234", "--pin", "1234"]);
    let words = ["--module", LIBRARY, "--login", "--pin", "1234", "--keypairgen", "--key-type", "EC:prime256v1"];
    done("pkcs11-tool", &[&words[..], &["--label", "release"]].concat());
    let muster = program("muster").unwrap();
    let token = ["--pkcs11", LIBRARY, "--key-label", "release"];
    let public = done(muster.to_str().unwrap(), &[&["keys", "public"], &token[..]].concat());
    std::fs::write(signed.path("token.pub"), public).unwrap();
    signed.ceremony("next", "token", 2, &["ann", "bob"]);
    signed.publish("next/root.json");
    signed.publish("next/targets.json");
    let release = signed.release("1", b"one");
    signed.muster(&["release", "sign", &release, "--channel", "stable", "--to", "channel-stable.json"]);
    done(muster.to_str().unwrap(), &[&["keys", "sign", "channel-stable.json"], &token[..]].concat());
    signed.publish("channel-stable.json");
    signed.muster(&["channel", "set", "stable", &release]);
}

#[test]
fn a_program_signs_with_a_key_that_muster_never_sees() {
    let signed = Signed::start();
    let openssl = |words: &[&str]| {
        let ran = std::process::Command::new("openssl").args(words).current_dir(signed.stick.path()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "hsm.key"]);
    openssl(&["ec", "-in", "hsm.key", "-pubout", "-out", "hsm.pub"]);
    signed.ceremony("next", "hsm", 2, &["ann", "bob"]);
    signed.publish("next/root.json");
    signed.publish("next/targets.json");
    let device = Device::start(&signed, "sn-1");
    let release = signed.release("1", b"one");
    let said = signed.refused(&["release", "sign", &release, "--channel", "stable", "--key", "release.pem"]);
    assert!(said.contains("devices would refuse it"), "{said}");
    // On two machines: the document goes to where the key is, and comes back.
    signed.muster(&["release", "sign", &release, "--channel", "stable", "--to", "channel-stable.json"]);
    let signer = ["--signer", "openssl dgst -sha256 -sign hsm.key", "--public", "hsm.pub"];
    signed.muster(&[&["keys", "sign", "channel-stable.json"], &signer[..]].concat());
    signed.publish("channel-stable.json");
    let rollout = roll_out(signed.server.admin(), &release, "sn-1", &json!({}));
    let _ = action_in(signed.server.admin(), &rollout, "sn-1", &["finished"]);
    assert_eq!(device.text("app/current/page"), "one");
}
