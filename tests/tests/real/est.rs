//! strongSwan's EST client, openssl and curl, unmodified, against the server's TLS listener.

use std::path::Path;
use std::process::{Command, Output};

use muster_tests::api::Api;
use muster_tests::operator::set_project;
use muster_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Here {
    server: Server,
    folder: TempDir,
}

fn start() -> Here {
    let server = Server::start_tls();
    let folder = tempfile::tempdir().unwrap();
    let root = server.admin().get("/identity").expect(200).at("/root");
    std::fs::write(folder.path().join("root.pem"), root.as_str().unwrap()).unwrap();
    Here { server, folder }
}

impl Here {
    fn admin(&self) -> &Api {
        self.server.admin()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `host:port`, by a name that is in the server's certificate.
    fn host(&self) -> String {
        self.server.tls_origin().replace("https://127.0.0.1", "localhost")
    }

    fn sh(&self, script: &str) -> Output {
        let conf = self.path().join("strongswan.conf");
        // Without it the client stops at TLS 1.2.
        std::fs::write(&conf, "libtls {\n  version_max = 1.3\n}\n").unwrap();
        let mut sh = Command::new("sh");
        sh.args(["-ec", script]).current_dir(self.path()).env("STRONGSWAN_CONF", conf).output().unwrap()
    }

    #[track_caller]
    fn done(&self, script: &str) -> String {
        let said = self.sh(script);
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{script}\n{out}\n{err}");
        out.into_owned()
    }

    fn join_token(&self) -> String {
        let made = self.admin().post("/join-tokens", &json!({ "name": "line-3", "life_s": 3600 })).expect(201);
        made.at("/secret").as_str().unwrap().to_owned()
    }

    /// Status of the device's orders, asked by curl with this key and certificate.
    fn polls(&self, name: &str) -> String {
        let host = self.host();
        self.done(&format!(
            "cat {name}.pem issuing.pem > chain-{name}.pem; curl --silent --tlsv1.3 --cacert root.pem --cert \
             chain-{name}.pem --key {name}.key --output /dev/null --write-out '%{{http_code}}' \
             https://{host}/device/v1/orders"
        ))
    }
}

/// A key and a request that asks for a name it must not get.
const REQUEST: &str = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=admin";

#[test]
fn strongswan_enrols_and_renews_and_curl_polls_with_what_it_got() {
    let here = start();
    let (host, token) = (here.host(), here.join_token());
    // This client knows no labels: it asks for the default project.
    let (label, path) = (format!("https://{host}"), format!("https://{host}/.well-known/est/default"));
    here.done(&format!("pki --estca --url {label} --cacert root.pem --caout ca --outform pem; cat ca* > all.pem"));
    // Two authorities came: the root, and the one that issues.
    assert_eq!(here.done("cat all.pem").matches("BEGIN CERTIFICATE").count(), 2);
    here.done(&format!("curl --silent --cacert root.pem {path}/cacerts | base64 -d | openssl pkcs7 -inform DER -print_certs -out issuing.pem"));
    here.done(&format!("{REQUEST} -keyout sn-1.key -outform DER -out sn-1.csr"));
    let wrong = here.sh(&format!(
        "pki --est --url {label} --cacert root.pem --in sn-1.csr --userpass sn-1:mjt_wrong --outform pem > sn-1.pem"
    ));
    assert!(!wrong.status.success(), "a token of nobody was taken");
    here.done(&format!(
        "pki --est --url {label} --cacert root.pem --in sn-1.csr --userpass 'sn-1:{token}' --outform pem > sn-1.pem"
    ));
    let text =
        here.done("openssl x509 -in sn-1.pem -noout -subject -ext subjectAltName,extendedKeyUsage,basicConstraints");
    assert!(text.contains("CN = sn-1") && text.contains("URI:muster://default/sn-1"), "{text}");
    assert!(text.contains("CA:FALSE") && text.contains("Client Authentication") && !text.contains("admin"), "{text}");
    here.done("openssl verify -CAfile root.pem -untrusted issuing.pem -purpose sslclient sn-1.pem");
    assert_eq!(here.polls("sn-1"), "200");
    // Renewed with a new key; the old one counts until the new one is used, and never after.
    here.done(&format!("{REQUEST} -keyout new.key -outform DER -out new.csr"));
    here.done(&format!(
        "cat sn-1.pem issuing.pem > old.pem; pki --est --url {label} --cacert root.pem --cacert issuing.pem --in \
         new.csr --cert sn-1.pem --key sn-1.key --outform pem > new.pem"
    ));
    assert_eq!((here.polls("sn-1").as_str(), here.polls("new").as_str()), ("200", "200"));
    assert_eq!(here.admin().get("/devices/sn-1").expect(200).at("/state"), json!("accepted"));
    assert_eq!(here.polls("sn-1"), "401");
    let known = here.admin().get("/devices/sn-1").expect(200);
    assert_eq!(known.at("/state"), json!("quarantined"), "a key that came back is a copy");
    assert!(known.at("/hold/reason").as_str().unwrap().contains("came back"), "{known}");
    assert_eq!(here.polls("new"), "403");
    let _ = here.admin().post("/devices/sn-1/accept", &json!({})).expect(200);
    assert_eq!(here.polls("new"), "200");
}

#[test]
fn an_authority_that_the_project_believes_brings_its_devices() {
    let here = start();
    let host = here.host();
    here.done(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 30 -subj '/CN=Plant 3' -keyout \
         plant.key -out plant.pem -addext keyUsage=critical,keyCertSign; cp plant.pem issuing.pem",
    );
    here.done(&format!("{REQUEST} -subj /CN=sn-9 -keyout sn-9.key -out sn-9.csr"));
    here.done(
        "printf 'extendedKeyUsage=clientAuth\\nbasicConstraints=CA:FALSE\\n' > ext; openssl x509 -req -in sn-9.csr -CA \
         plant.pem -CAkey plant.key -CAcreateserial -days 20 -extfile ext -out sn-9.pem",
    );
    let ddi = |here: &Here| {
        here.done(&format!(
            "cat sn-9.pem plant.pem > sn-9-chain.pem; curl --silent --cacert root.pem --cert sn-9-chain.pem --key \
             sn-9.key --output answer --write-out '%{{http_code}}' https://{host}/default/controller/v1/sn-9"
        ))
    };
    assert_eq!(ddi(&here), "401");
    set_project(here.admin(), &json!({ "registration": "accept" }));
    let leaf = std::fs::read_to_string(here.path().join("sn-9.pem")).unwrap();
    let refused = here.admin().post("/authorities", &json!({ "name": "plant-3", "certificate": leaf })).expect(400);
    assert!(refused.text().contains("CA:TRUE"), "{refused}");
    let plant = std::fs::read_to_string(here.path().join("plant.pem")).unwrap();
    let _ = here.admin().post("/authorities", &json!({ "name": "plant-3", "certificate": plant })).expect(201);
    assert_eq!(ddi(&here), "200");
    assert!(here.done("cat answer").contains("polling"));
    let other = here.done(&format!(
        "curl --silent --cacert root.pem --cert sn-9-chain.pem --key sn-9.key --output /dev/null --write-out \
         '%{{http_code}}' https://{host}/default/controller/v1/sn-8"
    ));
    assert_eq!(other, "401", "a certificate speaks for one device");
    let _ = here.admin().delete("/authorities/plant-3").expect(204);
    assert_eq!(ddi(&here), "401");
    assert_ne!(here.admin().get("/devices/sn-9").expect(200).at("/last_seen"), Value::Null);
}

#[test]
fn nothing_older_than_tls_1_3_is_spoken_and_est_is_not_spoken_in_clear() {
    let here = start();
    let host = here.host();
    let old = here.sh(&format!("curl --silent --tls-max 1.2 --cacert root.pem https://{host}/device/v1/root"));
    assert!(!old.status.success());
    let clear = here.server.origin();
    let status = here.done(&format!(
        "curl --silent --output /dev/null --write-out '%{{http_code}}' {clear}/.well-known/est/cacerts"
    ));
    assert_eq!(status, "403");
    let resumed = here.done(&format!(
        "printf 'GET /device/v1/root HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' > get; (cat get; sleep 1) | openssl s_client -connect {host} -CAfile root.pem -sess_out session \
         -quiet >/dev/null 2>&1; (cat get; sleep 1) | openssl s_client -connect {host} -CAfile root.pem -sess_in session 2>&1 | grep -a -o -m1 \
         'Reused' || true"
    ));
    assert_eq!(resumed.trim(), "Reused");
}
