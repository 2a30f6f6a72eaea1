//! Debian packages: how is one put in place of the other, and the other back?
//!
//! One package per component; its metadata says `package = NAME`, and the component's version is the package's. The file
//! of the version that runs is kept, because dpkg can't give it back: a package that didn't come through Muster has no
//! way back and is refused until its file lies in the component's folder as `DIGEST.deb`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cellar::Cellar;
use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::world::{Ran, Run, World};

const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const LINES_TOLD: usize = 10;
/// Looking needs no more.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// The note for a package that isn't installed.
const NOTHING: &str = "";

#[derive(Debug, Clone)]
pub struct Deb {
    /// Where files are while they arrive, and those of the version that runs.
    pub folder: PathBuf,
    /// Another system than the one that runs, such as a container's; none: `/`.
    pub root: Option<PathBuf>,
    /// How long one installation may take.
    pub timeout: Duration,
}

impl Deb {
    fn cellar(&self) -> Cellar<'_> {
        Cellar { folder: &self.folder, ending: "deb" }
    }

    fn run(&self, world: &dyn World, words: &[&str], timeout: Duration) -> Result<Ran, InstallError> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let run = Run { words: &words, stdin: b"", timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        world.host().run(&run).map_err(InstallError::disk(format!("running {}", words.join(" "))))
    }

    fn dpkg(&self, world: &dyn World, words: &[&str]) -> Result<(), InstallError> {
        let root = self.root.as_ref().map(|root| format!("--root={}", root.display()));
        let start = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-confold", "--force-downgrade"];
        let words: Vec<&str> = start.into_iter().chain(root.as_deref()).chain(words.iter().copied()).collect();
        let ran = self.run(world, &words, self.timeout)?;
        if ran.succeeded() {
            return Ok(());
        }
        Err(InstallError::Program { what: words[2..].join(" "), lines: ran.last_lines(LINES_TOLD) })
    }

    /// The version that is installed and configured, if one is.
    fn installed(&self, world: &dyn World, package: &str) -> Result<Option<String>, InstallError> {
        let admin = self.root.as_ref().map(|root| format!("--admindir={}", root.join("var/lib/dpkg").display()));
        let asked = ["dpkg-query"].into_iter().chain(admin.as_deref());
        let words: Vec<&str> =
            asked.chain(["--show", "--showformat=${db:Status-Abbrev}|${Version}", package]).collect();
        let ran = self.run(world, &words, LOOK_TIMEOUT)?;
        let said = String::from_utf8_lossy(&ran.output);
        Ok(said.strip_prefix("ii").and_then(|rest| rest.split_once('|')).map(|(_, version)| version.trim().to_owned()))
    }

    /// The file that the running version came in.
    fn file_before(&self, world: &dyn World, job: Job<'_>) -> Result<Option<PathBuf>, InstallError> {
        Ok(self.cellar().place(world.disk(), job, 0)?.base)
    }

    fn install(&self, world: &dyn World, file: &Path) -> Result<(), InstallError> {
        // What a power cut left half-way is brought to an end first; if it can't be, the next line says why or mends it.
        let _ = self.dpkg(world, &["--configure", "--pending"]);
        self.dpkg(world, &["--install", &file.to_string_lossy()])
    }
}

fn package(job: Job<'_>) -> Result<&str, InstallError> {
    let name = job.component.metadata.get("package").map(String::as_str).unwrap_or_default();
    let is_name = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    if is_name {
        return Ok(name);
    }
    Err(InstallError::Refused(format!("the component's metadata has to name its package; `package` is {name:?}")))
}

impl Installer for Deb {
    fn name(&self) -> &'static str {
        "deb"
    }

    /// The note is the version that is installed.
    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        let package = package(job)?;
        if job.component.artifacts.len() != 1 {
            return Err(InstallError::Refused(format!("a component is one package, and {package} has several files")));
        }
        let Some(before) = self.installed(world, package)? else { return Ok(NOTHING.to_owned()) };
        if before != job.component.version && self.file_before(world, job)?.is_none() {
            return Err(InstallError::Refused(format!(
                "{package} {before} did not come through Muster: put its file into {} first, or there is no way back",
                self.folder.display()
            )));
        }
        Ok(before)
    }

    fn place(&self, world: &dyn World, job: Job<'_>, artifact: usize) -> Result<Place, InstallError> {
        self.cellar().place(world.disk(), job, artifact)
    }

    /// Is it the package that the release says? What it depends on, dpkg looks at when it switches; then it goes back.
    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let file = self.cellar().new_one(job, 0)?;
        let file = file.to_string_lossy();
        let look = ["dpkg-deb", "--show", "--showformat=${Package}|${Version}", &file];
        let ran = self.run(world, &look, LOOK_TIMEOUT)?;
        let said = String::from_utf8_lossy(&ran.output).trim().to_owned();
        let wanted = format!("{}|{}", package(job)?, job.component.version);
        if !ran.succeeded() || said != wanted {
            let (said, wanted) = (said.replace('|', " "), wanted.replace('|', " "));
            return Err(InstallError::Refused(format!("the file is {said:?} and not the package {wanted:?}")));
        }
        Ok(())
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        self.install(world, &self.cellar().new_one(job, 0)?)?;
        let restarts = job.component.metadata.get("restart").is_some_and(|restart| restart == "true");
        Ok(if restarts { Takes::Restart } else { Takes::Effect })
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let is_new = self.installed(world, package(job)?)?.as_ref() == Some(&job.component.version);
        Ok(if is_new { Running::New } else { Running::Old })
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.cellar().keep(world.disk(), job)
    }

    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let package = package(job)?;
        let now = self.installed(world, package)?;
        match (job.note, self.file_before(world, job)?) {
            (before, _) if now.as_deref().unwrap_or(NOTHING) == before => {}
            (NOTHING, _) => self.dpkg(world, &["--purge", package])?,
            (_, Some(file)) => self.install(world, &file)?,
            (before, None) => {
                return Err(InstallError::Refused(format!("the file of {package} {before} is gone")));
            }
        }
        self.cellar().sweep(world.disk())?;
        Ok(Takes::Effect)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_wire::agent::{Artifact, Component};

    use super::*;
    use crate::state::Installed;
    use crate::workbench::{Workbench, digest};

    const LONG: Duration = Duration::from_secs(120);

    /// A system with nothing but dpkg's own books, and a package that dpkg-deb has built.
    fn system(bench: &Workbench) -> Deb {
        bench.write("root/var/lib/dpkg/status", "");
        std::fs::create_dir_all(bench.path("root/var/lib/dpkg/info")).unwrap();
        std::fs::create_dir_all(bench.path("root/var/lib/dpkg/updates")).unwrap();
        Deb { folder: bench.path("debs"), root: Some(bench.path("root")), timeout: LONG }
    }

    fn build(bench: &Workbench, version: &str, depends: &str) -> Vec<u8> {
        let tree = format!("tree-{version}");
        let control = format!(
            "Package: muster-probe\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n\
            {depends}Description: a probe\n"
        );
        bench.write(&format!("{tree}/DEBIAN/control"), control);
        bench.write(&format!("{tree}/opt/probe/version"), version);
        let (tree, file) = (bench.path(&tree), bench.path(&format!("{version}.deb")));
        let words = ["dpkg-deb", "--build", "--root-owner-group", tree.to_str().unwrap(), file.to_str().unwrap()];
        let words = words.map(str::to_owned);
        let run = Run { words: &words, stdin: b"", timeout: LONG, output_bytes_max: 10_000 };
        let ran = bench.host().run(&run).unwrap();
        assert!(ran.succeeded(), "{:?}", ran.last_lines(10));
        std::fs::read(file).unwrap()
    }

    fn component(version: &str, bytes: &[u8]) -> Component {
        let artifact = Artifact {
            file_name: format!("probe_{version}_all.deb"),
            size: bytes.len() as u64,
            digest: digest(bytes),
            routes: Vec::new(),
        };
        let metadata = BTreeMap::from([("package".to_owned(), "muster-probe".to_owned())]);
        Component { name: "app/probe".into(), version: version.into(), metadata, artifacts: vec![artifact] }
    }

    fn installed(component: &Component) -> Installed {
        let digests = component.artifacts.iter().map(|artifact| artifact.digest).collect();
        Installed { version: component.version.clone(), digests }
    }

    #[test]
    fn a_package_is_installed_upgraded_and_taken_back() {
        let bench = Workbench::new();
        let deb = system(&bench);
        let (old, new) = (build(&bench, "1.0", ""), build(&bench, "1.1", ""));
        let (first, second) = (component("1.0", &old), component("1.1", &new));

        let job = Job { component: &first, previous: None, note: "" };
        assert_eq!(deb.plan(&bench, job).unwrap(), "");
        bench.deliver(&deb, job, &old);
        deb.stage(&bench, job).unwrap();
        assert_eq!(deb.running(&bench, job).unwrap(), Running::Old);
        assert_eq!(deb.activate(&bench, job).unwrap(), Takes::Effect);
        assert_eq!(deb.running(&bench, job).unwrap(), Running::New);
        deb.commit(&bench, job).unwrap();
        assert_eq!(bench.text("root/opt/probe/version"), "1.0");

        let before = installed(&first);
        let job = Job { component: &second, previous: Some(&before), note: "1.0" };
        assert_eq!(deb.plan(&bench, job).unwrap(), "1.0");
        bench.deliver(&deb, job, &new);
        deb.stage(&bench, job).unwrap();
        // The power goes after the switch, so it is done again.
        deb.activate(&bench, job).unwrap();
        deb.activate(&bench, job).unwrap();
        assert_eq!(bench.text("root/opt/probe/version"), "1.1");
        deb.revert(&bench, job).unwrap();
        deb.revert(&bench, job).unwrap();
        assert_eq!(deb.running(&bench, job).unwrap(), Running::Old);
        assert_eq!(bench.text("root/opt/probe/version"), "1.0");
    }

    #[test]
    fn what_has_no_way_back_or_is_something_else_is_refused_before_anything_is_touched() {
        let bench = Workbench::new();
        let deb = system(&bench);
        let (old, new) = (build(&bench, "1.0", ""), build(&bench, "1.1", "Depends: no-such-package\n"));
        let (first, second) = (component("1.0", &old), component("1.1", &new));
        let job = Job { component: &first, previous: None, note: "" };
        bench.deliver(&deb, job, &old);
        deb.activate(&bench, job).unwrap();

        let orphan = Job { component: &second, previous: None, note: "" };
        let refused = deb.plan(&bench, orphan).unwrap_err().sentence();
        assert!(refused.contains("no way back"), "{refused}");
        bench.deliver(&deb, orphan, &new);
        let lied = component("2.0", &new);
        let lied = Job { component: &lied, previous: None, note: "" };
        let refused = deb.stage(&bench, lied).unwrap_err().sentence();
        assert!(refused.contains("muster-probe 1.1") && refused.contains("muster-probe 2.0"), "{refused}");
        assert_eq!(bench.text("root/opt/probe/version"), "1.0");
    }

    #[test]
    fn a_package_whose_dependencies_are_missing_is_taken_back() {
        let bench = Workbench::new();
        let deb = system(&bench);
        let (old, new) = (build(&bench, "1.0", ""), build(&bench, "1.1", "Depends: no-such-package\n"));
        let (first, second) = (component("1.0", &old), component("1.1", &new));
        let job = Job { component: &first, previous: None, note: "" };
        bench.deliver(&deb, job, &old);
        deb.activate(&bench, job).unwrap();
        deb.commit(&bench, job).unwrap();

        let before = installed(&first);
        let job = Job { component: &second, previous: Some(&before), note: "1.0" };
        bench.deliver(&deb, job, &new);
        deb.stage(&bench, job).unwrap();
        let failed = deb.activate(&bench, job).unwrap_err().sentence();
        assert!(failed.contains("no-such-package"), "{failed}");
        deb.revert(&bench, job).unwrap();
        assert_eq!(deb.running(&bench, job).unwrap(), Running::Old);
        assert_eq!(bench.text("root/opt/probe/version"), "1.0");
    }

    #[test]
    fn names_that_are_no_package_are_refused() {
        let bench = Workbench::new();
        let mut bad = component("1.0", b"");
        for name in ["", "a", "../x", "--root=/", "UPPER", "a b"] {
            bad.metadata.insert("package".into(), name.into());
            let job = Job { component: &bad, previous: None, note: "" };
            assert!(system(&bench).plan(&bench, job).is_err(), "{name}");
        }
    }
}
