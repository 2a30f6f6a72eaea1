//! A folder of files: how is it replaced as a whole by another one, and how are former ones kept?
//!
//! Versions lie beside one another, named after their artifact's digest; `root/archives/DIGEST.tar.zst` is what was
//! fetched.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_wire::agent::Artifact;

use super::unpack::{Form, unpack};
use super::versions::{NOTHING, Versions, before};
use super::{InstallError, Installer, Job, Place, Running, Takes};
use crate::disk::{self, Kind};
use crate::state::Installed;
use crate::world::{Run, World};

/// Lines of a failed reload that are told.
const LINES_TOLD: usize = 10;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Copied at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// In a component's metadata: bytes of its unpacked files.
const UNPACKED_BYTES: &str = "unpacked_bytes";

#[derive(Debug, Clone)]
pub struct Tree {
    pub root: PathBuf,
    /// Former versions that stay beside the one that runs.
    pub keep: usize,
    /// Of all files of one version.
    pub bytes_max: u64,
    /// Keeps the archive of the version that runs, so that deltas can start from it.
    pub keep_archive: bool,
    /// Words of a command after each switch; empty: none.
    pub reload: Vec<String>,
    pub reload_timeout: Duration,
}

/// Paths of one version.
struct Paths {
    version: PathBuf,
    partial: PathBuf,
    archive: PathBuf,
}

impl Tree {
    fn paths(&self, artifact: &Artifact) -> Paths {
        let digest = artifact.digest.hex();
        let ending = match Form::of(&artifact.file_name) {
            Form::Tar => ".tar",
            Form::TarZstd => ".tar.zst",
            Form::Single => "",
        };
        Paths {
            version: self.versions().folder(&digest),
            partial: self.versions().partial(&digest),
            archive: self.root.join("archives").join(format!("{digest}{ending}")),
        }
    }

    fn versions(&self) -> Versions<'_> {
        Versions { root: &self.root }
    }

    fn run_reload(&self, world: &dyn World) -> Result<(), InstallError> {
        if self.reload.is_empty() {
            return Ok(());
        }
        let what = format!("running {}", self.reload.join(" "));
        let run =
            Run { words: &self.reload, stdin: b"", timeout: self.reload_timeout, output_bytes_max: OUTPUT_BYTES_MAX };
        let ran = world.host().run(&run).map_err(InstallError::disk(what.clone()))?;
        if ran.succeeded() {
            return Ok(());
        }
        Err(InstallError::Program { what, lines: ran.last_lines(LINES_TOLD) })
    }

    /// What the files may take in all.
    fn limit(&self, job: Job<'_>) -> Result<u64, InstallError> {
        let Some(declared) = job.component.metadata.get(UNPACKED_BYTES) else { return Ok(self.bytes_max) };
        let declared: u64 = declared
            .parse()
            .map_err(|_| InstallError::Refused(format!("{UNPACKED_BYTES} is {declared:?}, and not a number")))?;
        if declared > self.bytes_max {
            let limit = self.bytes_max;
            return Err(InstallError::Refused(format!("unpacked it has {declared} bytes, and the limit is {limit}")));
        }
        Ok(declared)
    }

    /// A file that is no archive becomes the only one in its folder.
    fn copy(&self, world: &dyn World, artifact: &Artifact, paths: &Paths) -> Result<(), InstallError> {
        let (disk, target) = (world.disk(), paths.partial.join(&artifact.file_name));
        let copying = || InstallError::disk(format!("copying {}", artifact.file_name));
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        disk.write_at(&target, 0, &[]).map_err(copying())?;
        loop {
            let count = disk.read_at(&paths.archive, at, &mut chunk).map_err(copying())?;
            if count == 0 {
                break;
            }
            disk.write_at(&target, at, &chunk[..count]).map_err(copying())?;
            at += count as u64;
        }
        disk.sync(&target).map_err(copying())?;
        if disk::digest(disk, &target).map_err(copying())? != artifact.digest.0 {
            return Err(copying()(io::Error::other("what was written can't be read back")));
        }
        disk.sync_folder(&paths.partial).map_err(copying())
    }

    /// Removes everything but the version that runs and so many before it.
    fn prune(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let artifact = only_artifact(job)?;
        let new = artifact.digest.hex();
        let stay = self.versions().remember(world, (&new, job), self.keep)?;
        self.versions()
            .keep_only(world, "versions", &|name| name == new || stay.iter().any(|version| version == name))?;
        let archive = self.paths(artifact).archive;
        self.versions().keep_only(world, "archives", &|name| self.keep_archive && archive.ends_with(name))
    }
}

fn only_artifact<'a>(job: Job<'a>) -> Result<&'a Artifact, InstallError> {
    let [artifact] = job.component.artifacts.as_slice() else {
        let count = job.component.artifacts.len();
        return Err(InstallError::Refused(format!("a tree takes one archive or file, and the component has {count}")));
    };
    Ok(artifact)
}

impl Installer for Tree {
    fn name(&self) -> &'static str {
        "tree"
    }

    /// The note names the version that is linked.
    fn plan(&self, world: &dyn World, job: Job<'_>) -> Result<String, InstallError> {
        let artifact = only_artifact(job)?;
        let name = Path::new(&artifact.file_name);
        if name.file_name() != Some(name.as_os_str()) {
            return Err(InstallError::Refused(format!("{:?} is no name for a file", artifact.file_name)));
        }
        let declared = self.limit(job)?;
        let is_archive = Form::of(&artifact.file_name) != Form::Single;
        if !is_archive && artifact.size > declared {
            let size = artifact.size;
            return Err(InstallError::Refused(format!("it has {size} bytes, and the limit is {declared}")));
        }
        let is_declared = job.component.metadata.contains_key(UNPACKED_BYTES);
        let unpacked = if is_archive && is_declared { declared } else { artifact.size };
        let free = world.disk().free_bytes(&self.root).map_err(InstallError::disk("asking for free space"))?;
        let needed = artifact.size.saturating_add(unpacked);
        if needed > free {
            return Err(InstallError::Refused(format!("it needs {needed} bytes, and {free} are free")));
        }
        Ok(self.versions().linked(world)?.unwrap_or_else(|| NOTHING.to_owned()))
    }

    fn place(&self, world: &dyn World, job: Job<'_>, _: usize) -> Result<Place, InstallError> {
        let artifact = only_artifact(job)?;
        let folder = self.root.join("archives");
        let what = || InstallError::disk(format!("making {}", folder.display()));
        world.disk().make_folder(&folder).map_err(what())?;
        let before = job.previous.and_then(|previous| previous.digests.first()).map(muster_vocab::Sha256::hex);
        let names = world.disk().list(&folder).map_err(what())?;
        let base = names.into_iter().find(|name| before.as_ref().is_some_and(|digest| name.starts_with(digest)));
        let path = self.paths(artifact).archive;
        let base = base.map(|name| folder.join(name)).filter(|base| *base != path);
        Ok(Place { path, bytes_max: artifact.size, base })
    }

    fn stage(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        let (artifact, disk) = (only_artifact(job)?, world.disk());
        let paths = self.paths(artifact);
        let staging = || InstallError::disk(format!("unpacking {}", artifact.file_name));
        disk.remove_folder(&paths.partial).map_err(staging())?;
        let is_single = Form::of(&artifact.file_name) == Form::Single;
        if self.versions().linked(world)? == Some(artifact.digest.hex()) {
            if is_single && disk.list(&paths.version).map_err(staging())? != [artifact.file_name.as_str()] {
                let name = &artifact.file_name;
                return Err(InstallError::Refused(format!("{name} is installed already under another name")));
            }
            return Ok(());
        }
        // What an earlier try left is not believed.
        disk.remove_folder(&paths.version).map_err(staging())?;
        disk.make_folder(&paths.partial).map_err(staging())?;
        let outcome = if is_single {
            self.copy(world, artifact, &paths)
        } else {
            unpack(disk, &paths.archive, &paths.partial, self.limit(job)?)
        };
        if let Err(error) = outcome {
            // Nothing of it is of use; if this fails as well, the next attempt or the next commit removes it.
            let _ = disk.remove_folder(&paths.partial);
            return Err(error);
        }
        disk::rename(disk, &paths.partial, &paths.version).map_err(staging())
    }

    fn activate(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let artifact = only_artifact(job)?;
        let (new, version) = (artifact.digest.hex(), self.paths(artifact).version);
        let found = world.disk().kind(&version).map_err(InstallError::disk("looking for the new version"))?;
        if found != Some(Kind::Folder) {
            return Err(InstallError::Refused(format!("{} is gone since it was staged", version.display())));
        }
        self.versions().begin_switch(world, &new, before(job))?;
        self.versions().link(world, Some(&new))?;
        self.run_reload(world)?;
        Ok(Takes::Effect)
    }

    fn running(&self, world: &dyn World, job: Job<'_>) -> Result<Running, InstallError> {
        let new = only_artifact(job)?.digest.hex();
        Ok(if self.versions().linked(world)? == Some(new) { Running::New } else { Running::Old })
    }

    /// A switch that nobody remembers is undone. One to what is installed was committed, and only its mark is left.
    fn settle(&self, world: &dyn World, installed: Option<&Installed>) -> Result<Takes, InstallError> {
        let Some(before) = self.versions().switch_under_way(world)? else { return Ok(Takes::Effect) };
        let linked = self.versions().linked(world)?;
        if installed.is_some_and(|now| now.digests.first().map(muster_vocab::Sha256::hex) == linked) {
            return self.versions().forget_switch(world).map(|()| Takes::Effect);
        }
        world.host().log(&format!("{} was switched without an update: going back", self.root.display()));
        self.versions().link(world, before.as_deref())?;
        self.run_reload(world)?;
        self.versions().forget_switch(world)?;
        Ok(Takes::Effect)
    }

    fn commit(&self, world: &dyn World, job: Job<'_>) -> Result<(), InstallError> {
        self.prune(world, job)?;
        self.versions().forget_switch(world)
    }

    /// Programs are told only if they may have seen the new version.
    fn revert(&self, world: &dyn World, job: Job<'_>) -> Result<Takes, InstallError> {
        let artifact = only_artifact(job)?;
        let new = artifact.digest.hex();
        let before = before(job);
        if self.versions().switch_under_way(world)?.is_some() {
            self.versions().link(world, before)?;
            match self.run_reload(world) {
                // Without a version there is nothing that it could start.
                Err(error) if before.is_none() => world.host().log(&error.sentence()),
                outcome => outcome?,
            }
            self.versions().forget_switch(world)?;
        }
        let paths = self.paths(artifact);
        let removing = || InstallError::disk("removing what was staged");
        world.disk().remove_folder(&paths.partial).map_err(removing())?;
        if before != Some(new.as_str()) {
            world.disk().remove(&paths.archive).map_err(removing())?;
            if !self.versions().history(world)?.contains(&new) {
                world.disk().remove_folder(&paths.version).map_err(removing())?;
            }
        }
        for folder in [&paths.version, &paths.archive].map(|path| disk::folder_of(path)) {
            if world.disk().kind(folder).map_err(removing())?.is_some() {
                world.disk().sync_folder(folder).map_err(removing())?;
            }
        }
        Ok(Takes::Effect)
    }
}

#[cfg(test)]
mod tests {
    use muster_wire::agent::Component;

    use super::*;
    use crate::state::Installed;
    use crate::workbench::{Workbench, component, digest};

    fn tree(bench: &Workbench) -> Tree {
        let web = bench.path("web");
        let reload = ["sh", "-c", "cat \"$0\"/current/page >> \"$0\"/../seen", web.to_str().unwrap()];
        Tree {
            root: bench.path("web"),
            keep: 1,
            bytes_max: 1000,
            keep_archive: false,
            reload: reload.map(str::to_owned).to_vec(),
            reload_timeout: Duration::from_secs(60),
        }
    }

    /// An archive with a page that says this.
    fn pages(text: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "./page", text.as_bytes()).unwrap();
        builder.into_inner().unwrap()
    }

    fn web(bytes: &[u8]) -> Component {
        component("app/web", "web.tar", bytes)
    }

    fn installed(bytes: &[u8]) -> Installed {
        Installed { version: "1".into(), digests: vec![digest(bytes)] }
    }

    /// All the way, up to the switch.
    fn activate(bench: &Workbench, tree: &Tree, component: &Component, bytes: &[u8]) -> String {
        let note = tree.plan(bench, Job { component, previous: None, note: "" }).unwrap();
        let job = Job { component, previous: None, note: &note };
        bench.deliver(tree, job, bytes);
        tree.stage(bench, job).unwrap();
        assert_eq!(tree.running(bench, job).unwrap(), Running::Old);
        assert_eq!(tree.activate(bench, job).unwrap(), Takes::Effect);
        assert_eq!(tree.running(bench, job).unwrap(), Running::New);
        note
    }

    fn install(bench: &Workbench, tree: &Tree, bytes: &[u8]) {
        let component = web(bytes);
        let note = activate(bench, tree, &component, bytes);
        tree.commit(bench, Job { component: &component, previous: None, note: &note }).unwrap();
    }

    fn versions(bench: &Workbench) -> Vec<String> {
        bench.names("web/versions")
    }

    fn sorted<const N: usize>(archives: [&[u8]; N]) -> Vec<String> {
        let mut names = archives.map(|bytes| digest(bytes).hex()).to_vec();
        names.sort();
        names
    }

    #[test]
    fn the_new_version_is_there_as_a_whole_and_so_many_before_it_stay() {
        let bench = Workbench::new();
        let tree = tree(&bench);
        let [one, two, three] = ["one,", "two,", "three,"].map(pages);
        install(&bench, &tree, &one);
        assert_eq!(bench.text("web/current/page"), "one,");
        install(&bench, &tree, &two);
        assert_eq!(versions(&bench), sorted([&one, &two]));
        install(&bench, &tree, &three);
        assert_eq!(versions(&bench), sorted([&two, &three]));
        assert_eq!(bench.text("seen"), "one,two,three,", "programs are told after each switch");
        assert_eq!(bench.names("web"), ["archives", "current", "history", "versions"]);
        assert_eq!(bench.names("web/archives"), [""; 0]);
    }

    #[test]
    fn a_version_taken_back_leaves_the_one_before_and_no_trace() {
        let bench = Workbench::new();
        let tree = tree(&bench);
        let [one, two] = ["one,", "two,"].map(pages);
        install(&bench, &tree, &one);
        let component = web(&two);
        let note = activate(&bench, &tree, &component, &two);
        let job = Job { component: &component, previous: None, note: &note };
        assert_eq!(tree.revert(&bench, job).unwrap(), Takes::Effect);
        assert_eq!(tree.running(&bench, job).unwrap(), Running::Old);
        assert_eq!((bench.text("seen").as_str(), versions(&bench)), ("one,two,one,", sorted([&one])));
        // Before the switch nobody is told.
        bench.deliver(&tree, job, &two);
        tree.stage(&bench, job).unwrap();
        tree.revert(&bench, job).unwrap();
        assert_eq!((bench.text("seen").as_str(), versions(&bench)), ("one,two,one,", sorted([&one])));
        assert_eq!(bench.names("web/archives"), [""; 0]);
    }

    #[test]
    fn the_first_version_taken_back_leaves_none() {
        let bench = Workbench::new();
        let tree = tree(&bench);
        let one = pages("one,");
        let component = web(&one);
        let note = activate(&bench, &tree, &component, &one);
        let job = Job { component: &component, previous: None, note: &note };
        tree.revert(&bench, job).unwrap();
        assert_eq!(bench.names("web"), ["archives", "versions"]);
        assert!(bench.log_lines()[0].starts_with("running sh -c"), "{:?}", bench.log_lines());
    }

    #[test]
    fn a_failed_reload_is_an_error_and_can_be_taken_back() {
        let bench = Workbench::new();
        let mut tree = tree(&bench);
        let [one, two] = ["one,", "two,"].map(pages);
        install(&bench, &tree, &one);
        let component = web(&two);
        let job = Job { component: &component, previous: None, note: &digest(&one).hex() };
        bench.deliver(&tree, job, &two);
        tree.stage(&bench, job).unwrap();
        tree.reload = ["sh", "-c", "echo no such service; exit 5"].map(str::to_owned).to_vec();
        let error = tree.activate(&bench, job).unwrap_err();
        assert!(matches!(&error, InstallError::Program { lines, .. } if *lines == ["no such service"]), "{error}");
        tree.reload = vec!["true".into()];
        tree.revert(&bench, job).unwrap();
        assert_eq!(bench.text("web/current/page"), "one,");
    }

    #[test]
    fn a_power_cut_at_any_moment_loses_neither_version() {
        let [one, two] = ["one,", "two,"].map(pages);
        let packed = zstd::encode_all(&two[..], 3).unwrap();
        for is_kept in [true, false] {
            let bench = Workbench::new();
            let tree = Tree { keep: 0, ..tree(&bench) };
            install(&bench, &tree, &one);
            let component = component("app/web", "web.tar.zst", &packed);
            let note = tree.plan(&bench, Job { component: &component, previous: None, note: "" }).unwrap();
            let job = Job { component: &component, previous: None, note: &note };
            bench.deliver(&tree, job, &packed);
            let page = || bench.text("web/current/page");
            let staged = bench.cut_everywhere(|| tree.stage(&bench, job), |_| assert_eq!(page(), "one,"));
            let either = |_| assert!(["one,", "two,"].contains(&page().as_str()));
            let switched = bench.cut_everywhere(|| tree.activate(&bench, job).map(drop), either);
            assert_eq!(page(), "two,");
            let ended = if is_kept {
                bench.cut_everywhere(|| tree.commit(&bench, job), |_| assert_eq!(page(), "two,"))
            } else {
                bench.cut_everywhere(|| tree.revert(&bench, job).map(drop), either)
            };
            assert!(staged > 5 && switched > 5 && ended > 3, "{staged} {switched} {ended}");
            let kept: &[u8] = if is_kept { &packed } else { &one };
            assert_eq!(versions(&bench), sorted([kept]));
            assert_eq!(bench.names("web"), ["archives", "current", "history", "versions"]);
        }
    }

    #[test]
    fn a_file_that_is_no_archive_becomes_the_only_one_of_its_folder() {
        let bench = Workbench::new();
        let tree = Tree { reload: vec![], keep_archive: true, ..tree(&bench) };
        let model = component("model", "model.onnx", b"weights");
        let note = activate(&bench, &tree, &model, b"weights");
        tree.commit(&bench, Job { component: &model, previous: None, note: &note }).unwrap();
        assert_eq!(bench.text("web/current/model.onnx"), "weights");
        // The archive stays for deltas to start from.
        let next = component("model", "model.onnx", b"better weights");
        let previous = installed(b"weights");
        let job = Job { component: &next, previous: Some(&previous), note: &note };
        let base = tree.place(&bench, job, 0).unwrap().base.unwrap();
        assert_eq!(std::fs::read(base).unwrap(), b"weights");
        let renamed = component("model", "other.onnx", b"weights");
        let job = Job { component: &renamed, previous: None, note: &note };
        assert!(tree.stage(&bench, job).unwrap_err().to_string().contains("under another name"));
    }

    /// Spoils a plan.
    type Change = dyn Fn(&Workbench, &mut Tree, &mut Component);

    #[test]
    fn what_can_never_be_installed_is_refused_before_anything_is_fetched() {
        let refusal = |change: &Change| {
            let bench = Workbench::new();
            let (mut tree, mut component) = (tree(&bench), web(b"x"));
            change(&bench, &mut tree, &mut component);
            tree.plan(&bench, Job { component: &component, previous: None, note: "" }).unwrap_err().to_string()
        };
        let cases: [(&Change, &str); 8] = [
            (&|_, _, component| component.artifacts.clear(), "the component has 0"),
            (&|_, _, component| component.artifacts[0].size = u64::MAX, "are free"),
            (&|_, _, component| component.artifacts[0].file_name = "../x".into(), "is no name for a file"),
            (
                &|_, _, component| {
                    component.artifacts[0].file_name = "x".into();
                    component.artifacts[0].size = 1001;
                },
                "the limit is 1000",
            ),
            (&|_, _, component| drop(component.metadata.insert(UNPACKED_BYTES.into(), "1001".into())), "limit is 1000"),
            (&|_, _, component| drop(component.metadata.insert(UNPACKED_BYTES.into(), "many".into())), "not a number"),
            (&|bench, _, _| bench.write("web/current/page", "x"), "is no link"),
            (
                &|bench, _, _| {
                    std::fs::create_dir(bench.path("web")).unwrap();
                    std::os::unix::fs::symlink("/srv", bench.path("web/current")).unwrap();
                },
                "leads to /srv",
            ),
        ];
        for (change, why) in cases {
            let error = refusal(change);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_archive_that_is_refused_leaves_what_runs_and_nothing_else() {
        let bench = Workbench::new();
        let tree = tree(&bench);
        let one = pages("one,");
        install(&bench, &tree, &one);
        let large = pages(&"x".repeat(1001));
        let component = web(&large);
        let job = Job { component: &component, previous: None, note: &digest(&one).hex() };
        bench.deliver(&tree, job, &large);
        let error = tree.stage(&bench, job).unwrap_err();
        assert!(matches!(&error, InstallError::Refused(why) if why.contains("1000 bytes")), "{error}");
        assert_eq!((bench.text("web/current/page").as_str(), versions(&bench)), ("one,", sorted([&one])));
        assert!(tree.activate(&bench, job).unwrap_err().to_string().contains("is gone"));
    }
}
