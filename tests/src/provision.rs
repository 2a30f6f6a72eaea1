//! Where do packages of npm lie that the tests run?
//!
//! In `target/parts/NAME`, installed at the first use if `cargo xtask test` has not done so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The folder of a package at one release, such as `oidc-provider@9.13.3`.
pub fn package(spec: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("asking for the test program's path")?;
    let target = own.ancestors().nth(3).context("the test program lies in target/PROFILE/deps")?;
    let (name, release) = spec.split_once('@').context("the package has a release")?;
    let folder = target.join("parts").join(name);
    let manifest = std::fs::read_to_string(folder.join(format!("node_modules/{name}/package.json")));
    let manifest: Value = serde_json::from_str(&manifest.unwrap_or_default()).unwrap_or_default();
    if manifest["version"] != release {
        std::fs::create_dir_all(&folder)?;
        let quiet = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        run(Command::new("npm").args(quiet).arg(&folder).arg(spec))
            .context("`cargo xtask test` installs what the tests need")?;
    }
    Ok(folder)
}

/// `certificate.pem` and `key.pem` of 127.0.0.1 in a folder; answers the certificate. For itself only: no authority, so
/// that nothing else is believed by it.
pub fn make_certificate(folder: &Path) -> anyhow::Result<String> {
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=id".split(' '));
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    run(openssl.arg("-keyout").arg(key).arg("-out").arg(&certificate))?;
    Ok(std::fs::read_to_string(certificate)?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ran = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}
