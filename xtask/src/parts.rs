//! Which programs of others do tests and measurements run, and how do they get here?
//!
//! Each part is looked for first and installed only when missing, from Debian's packages, or from PyPI or npm into
//! `target/parts`. What is installed, and for which purpose, is said on standard error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{process, unpacked};

/// Package lists come from a mirror that may answer slowly; a third failure is a real one.
const UPDATE_TRIES: u32 = 3;
const UPDATE_PAUSE: Duration = Duration::from_secs(5);

/// Somebody else may be installing something; apt-get waits this many seconds for it.
const WAIT_FOR_OTHERS: &str = "DPkg::Lock::Timeout=300";

/// The release of the API fuzzer whose findings are known.
const SCHEMATHESIS_RELEASE: &str = "4.32.5";

/// The release of the reference implementation of TUF whose documents are known.
const PYTHON_TUF: [&str; 2] = ["tuf==6.0.0", "securesystemslib[crypto]==1.3.1"];

/// The release of the receiver of webhooks whose API is known.
const STANDARD_WEBHOOKS: &str = "standardwebhooks@1.1.1";

/// The release of the OpenID provider whose pages and answers are known.
const OIDC_PROVIDER: &str = "oidc-provider@9.13.3";

/// A program that Debian packages.
#[derive(Debug)]
struct Part {
    program: &'static str,
    /// The packages that bring it, best first; those with a space between go together.
    packages: &'static [&'static str],
    why: &'static str,
}

const SWUPDATE: Part =
    Part { program: "swupdate", packages: &["swupdate"], why: "a device of the field polls and installs with it" };
const CPIO: Part = Part { program: "cpio", packages: &["cpio"], why: "an .swu image is a cpio archive" };
const OPENSSL: Part = Part { program: "openssl", packages: &["openssl"], why: "test images are signed with it" };
const CURL: Part = Part { program: "curl", packages: &["curl"], why: "bad requests are sent with it" };
const NGINX: Part =
    Part { program: "nginx", packages: &["nginx-light", "nginx"], why: "check-ins are compared with it" };
const FAKETIME: Part =
    Part { program: "faketime", packages: &["faketime"], why: "the server's clock jumps with its library" };
const FW_PRINTENV: Part = Part {
    program: "fw_printenv",
    packages: &["libubootenv-tool"],
    why: "U-Boot's environment is compared with the agent's",
};
const RAUC: Part = Part { program: "rauc", packages: &["rauc"], why: "the agent installs bundles with its service" };
const SQUASHFS: Part =
    Part { program: "mksquashfs", packages: &["squashfs-tools"], why: "a RAUC bundle is a squashfs file system" };
const BUS: Part = Part { program: "dbus-daemon", packages: &["dbus"], why: "RAUC's service is asked over D-Bus" };
const BUS_CLIENT: Part =
    Part { program: "dbus-send", packages: &["dbus-bin"], why: "it tells whether RAUC's service is up" };
const QEMU: Part = Part {
    program: "qemu-system-x86_64",
    packages: &["qemu-system-x86"],
    why: "test machines lose their power in it, and start again",
};
const SFDISK: Part = Part { program: "sfdisk", packages: &["fdisk"], why: "test machines have disks with partitions" };
const MKE2FS: Part = Part { program: "mke2fs", packages: &["e2fsprogs"], why: "test machines have file systems" };
const GRUB: Part =
    Part { program: "grub-mkimage", packages: &["grub-common"], why: "test machines are started by GRUB" };
const MTOOLS: Part =
    Part { program: "mcopy", packages: &["mtools"], why: "files get into FAT file systems with it, without a mount" };
const MKFS_VFAT: Part =
    Part { program: "mkfs.vfat", packages: &["dosfstools"], why: "machines with UEFI start from such a file system" };
const STRIP: Part = Part { program: "strip", packages: &["binutils"], why: "test machines hold no debug information" };
const PODMAN: Part = Part { program: "podman", packages: &["podman"], why: "the agent starts containers with it" };
const RUNC: Part = Part { program: "runc", packages: &["runc"], why: "podman runs containers by it" };
const COMPOSE: Part =
    Part { program: "podman-compose", packages: &["podman-compose"], why: "the agent brings Compose files up with it" };
const DOCKER: Part =
    Part { program: "dockerd", packages: &["docker.io"], why: "the agent starts containers with it, too" };
const DOCKER_COMPOSE: Part =
    Part { program: "docker-compose", packages: &["docker-compose"], why: "the agent brings Compose files up with it" };
const BUSYBOX: Part =
    Part { program: "busybox", packages: &["busybox-static"], why: "images of tests are made of nothing else" };
const SOFTHSM: Part =
    Part { program: "softhsm2-util", packages: &["softhsm2"], why: "releases are signed with a key in its token" };
const PKCS11_TOOL: Part =
    Part { program: "pkcs11-tool", packages: &["opensc"], why: "the key in SoftHSM's token is made with it" };
const PYTHON: Part = Part { program: "python3", packages: &["python3"], why: "the API fuzzer runs on it" };

const STRONGSWAN: Part = Part {
    program: "pki",
    packages: &["strongswan-pki libstrongswan-extra-plugins"],
    why: "devices enrol with its EST client",
};

const SYSTEMD: Part =
    Part { program: "systemd-analyze", packages: &["systemd"], why: "the units are judged by it; it is not started" };

const SWTPM: Part = Part { program: "swtpm", packages: &["swtpm"], why: "test devices have TPMs of it" };
const SWTPM_SETUP: Part =
    Part { program: "swtpm_setup", packages: &["swtpm-tools"], why: "it makes TPMs with a maker's certificate" };
const TPM2_TOOLS: Part =
    Part { program: "tpm2_createak", packages: &["tpm2-tools"], why: "the agent speaks to TPMs by its programs" };

const NODE: Part = Part { program: "node", packages: &["nodejs"], why: "people log in by a provider that it runs" };

const RSYSLOG: Part = Part {
    program: "rsyslogd",
    packages: &["rsyslog rsyslog-openssl"],
    why: "audit records are collected by it, over TLS; it is not started as a service",
};

const MENDER: Part =
    Part { program: "mender-artifact", packages: &["mender-artifact"], why: "artifacts are signed with it" };

const FOR_TESTS: [&Part; 34] = [
    &SWUPDATE,
    &CPIO,
    &OPENSSL,
    &CURL,
    &FAKETIME,
    &FW_PRINTENV,
    &RAUC,
    &SQUASHFS,
    &BUS,
    &BUS_CLIENT,
    &QEMU,
    &SFDISK,
    &MKE2FS,
    &GRUB,
    &STRIP,
    &MTOOLS,
    &MKFS_VFAT,
    &PODMAN,
    &RUNC,
    &COMPOSE,
    &DOCKER,
    &DOCKER_COMPOSE,
    &BUSYBOX,
    &SOFTHSM,
    &PKCS11_TOOL,
    &STRONGSWAN,
    &SYSTEMD,
    &SWTPM,
    &SWTPM_SETUP,
    &TPM2_TOOLS,
    &RSYSLOG,
    &MENDER,
    &NODE,
    &NPM,
];

const TIME: Part = Part { program: "time", packages: &["time"], why: "what programs use is measured with it" };
const ZSTD: Part = Part { program: "zstd", packages: &["zstd"], why: "deltas are compared with whole files" };
const XDELTA3: Part = Part { program: "xdelta3", packages: &["xdelta3"], why: "deltas are compared with it" };
const BSDIFF: Part = Part { program: "bsdiff", packages: &["bsdiff"], why: "deltas are compared with it" };
const NPM: Part = Part { program: "npm", packages: &["npm"], why: "a version of a real program is fetched with it" };

/// Installs what the tests run where it is missing: programs on the search path, what machines are made of, and the
/// API fuzzer.
pub fn for_tests() -> anyhow::Result<()> {
    for part in FOR_TESTS {
        install(part)?;
    }
    unpacked::for_machines()?;
    schemathesis()?;
    python_tuf()?;
    npm_package(OIDC_PROVIDER, "people log in by it")?;
    npm_package(STANDARD_WEBHOOKS, "it checks the signatures of webhooks")
}

/// The `nginx` that check-ins are compared with.
pub fn nginx() -> anyhow::Result<PathBuf> {
    install(&NGINX)
}

/// What deltas are compared with; gives the `time` that measures them all.
pub fn for_deltas() -> anyhow::Result<PathBuf> {
    for part in [&ZSTD, &XDELTA3, &BSDIFF] {
        install(part)?;
    }
    install(&TIME)
}

/// The client of npm's packages.
pub fn npm() -> anyhow::Result<PathBuf> {
    install(&NPM)
}

/// The interpreter that brings pip, the client of PyPI's packages.
pub fn python() -> anyhow::Result<PathBuf> {
    install(&PYTHON)
}

/// The folder with PostgreSQL's programs (`initdb`, `postgres`, `pgbench`), which Debian keeps off the search path.
pub fn postgresql() -> anyhow::Result<PathBuf> {
    if let Some(folder) = newest_postgresql() {
        return Ok(folder);
    }
    install_package(&["postgresql"], "postgresql", "durable commits are compared with it")?;
    newest_postgresql().context("package postgresql brought no /usr/lib/postgresql/*/bin/postgres")
}

/// The API fuzzer, in an environment of its own: `target/parts/schemathesis/bin/schemathesis`.
pub fn schemathesis() -> anyhow::Result<PathBuf> {
    let folder = process::root().join("target/parts/schemathesis");
    let program = folder.join("bin/schemathesis");
    if is_release(&program, SCHEMATHESIS_RELEASE) {
        return Ok(program);
    }
    let python = install(&PYTHON)?;
    let package = format!("schemathesis=={SCHEMATHESIS_RELEASE}");
    eprintln!("installing {package}: the API is fuzzed with it from its own description");
    make_environment(&python, &folder)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package];
    process::run(process::command(folder.join("bin/python")).args(pip))?;
    Ok(program)
}

/// The reference implementation of TUF, in an environment of its own: `target/parts/tuf`.
fn python_tuf() -> anyhow::Result<()> {
    let folder = process::root().join("target/parts/tuf");
    let python = folder.join("bin/python");
    if process::output(process::command(&python).args(["-c", "import tuf.ngclient, cryptography"])).is_ok() {
        return Ok(());
    }
    let interpreter = install(&PYTHON)?;
    eprintln!("installing {}: it reads what Muster signs, and makes what the agent reads", PYTHON_TUF[0]);
    make_environment(&interpreter, &folder)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    process::run(process::command(&python).args(pip).args(PYTHON_TUF)).map(|_| ())
}

/// A package at one release, in a folder of its own: `target/parts/NAME`.
fn npm_package(spec: &str, why: &str) -> anyhow::Result<()> {
    let (name, release) = spec.split_once('@').context("the package has a release")?;
    let folder = process::root().join("target/parts").join(name);
    let manifest =
        std::fs::read_to_string(folder.join(format!("node_modules/{name}/package.json"))).unwrap_or_default();
    if manifest.contains(&format!("\"version\": \"{release}\"")) {
        return Ok(());
    }
    eprintln!("installing {spec}: {why}");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let quiet = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    process::run(process::command(npm()?).args(quiet).arg(&folder).arg(spec)).map(|_| ())
}

fn is_release(program: &Path, release: &str) -> bool {
    let said = process::output(process::command(program).arg("--version"));
    said.is_ok_and(|said| said.split_whitespace().any(|word| word == release))
}

/// Debian splits `venv` off Python; without it the first try fails at once.
fn make_environment(python: &Path, folder: &Path) -> anyhow::Result<()> {
    let make = || process::run(process::command(python).args(["-m", "venv", "--clear"]).arg(folder));
    if make().is_ok() {
        return Ok(());
    }
    install_package(&["python3-venv"], "python3-venv", "the API fuzzer gets an environment of its own")?;
    make()
}

fn install(part: &Part) -> anyhow::Result<PathBuf> {
    if let Some(path) = process::find(part.program) {
        return Ok(path);
    }
    install_package(part.packages, part.program, part.why)?;
    process::find(part.program).with_context(|| format!("{} was installed but is not to be found", part.program))
}

/// Installs the first of the packages that can be had.
fn install_package(packages: &[&str], program: &str, why: &str) -> anyhow::Result<()> {
    if process::find("apt-get").is_none() {
        bail!("{program} is missing ({why}) and there is no apt-get here: install it by hand");
    }
    eprintln!("installing {}: {why}", packages.join(" or "));
    update_package_lists()?;
    let mut outcome = Ok(());
    for package in packages {
        let mut words = vec!["install", "--yes", "--no-install-recommends"];
        words.extend(package.split(' '));
        outcome = process::run(&mut apt_get(&words));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Once per run.
pub fn update_package_lists() -> anyhow::Result<()> {
    static UPDATED: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if UPDATED.get().is_some() {
        return Ok(());
    }
    let mut outcome = Ok(());
    for attempt in 1..=UPDATE_TRIES {
        outcome = process::run(&mut apt_get(&["update", "--error-on=any"]));
        if outcome.is_ok() {
            UPDATED.get_or_init(|| ());
            break;
        }
        eprintln!("try {attempt} of {UPDATE_TRIES} to update the package lists failed");
        std::thread::sleep(UPDATE_PAUSE);
    }
    outcome
}

/// `apt-get` that asks nothing and, by the run level it is told, starts no service that it installs.
fn apt_get(arguments: &[&str]) -> Command {
    let settings =
        ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "--quiet=2", "--option", WAIT_FOR_OTHERS];
    let sudo = (!is_root()).then_some("sudo");
    let mut words = sudo.into_iter().chain(settings).chain(arguments.iter().copied());
    let mut command = process::command(words.next().expect("there is always `env`"));
    command.args(words);
    command
}

fn is_root() -> bool {
    process::output(process::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn newest_postgresql() -> Option<PathBuf> {
    let releases = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    releases
        .map(|release| release.path().join("bin"))
        .filter(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
        .max_by_key(|folder| release_number(folder))
}

fn release_number(programs: &Path) -> Option<u32> {
    programs.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_postgresql_is_the_one_with_the_highest_number() {
        let ninth = release_number(Path::new("/usr/lib/postgresql/9/bin"));
        let fifteenth = release_number(Path::new("/usr/lib/postgresql/15/bin"));
        assert_eq!((ninth, fifteenth), (Some(9), Some(15)));
        assert!(ninth < fifteenth);
    }

    #[test]
    fn another_release_is_not_taken_for_the_pinned_one() {
        let cargo = Path::new(env!("CARGO"));
        let said = process::output(process::command(cargo).arg("--version")).unwrap();
        let release = said.split_whitespace().nth(1).unwrap();
        assert!(is_release(cargo, release));
        assert!(!is_release(cargo, "0.0.1"));
        assert!(!is_release(Path::new("/no/such/program"), "4.32.5"));
    }

    #[test]
    fn installing_asks_nothing_and_starts_no_service() {
        let line = process::line(&apt_get(&["install", "--yes", "nginx-light"]));
        assert!(line.contains("env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get "), "{line}");
        assert!(line.ends_with(" install --yes nginx-light"), "{line}");
    }
}
