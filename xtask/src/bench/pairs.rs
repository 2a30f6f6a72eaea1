//! Which versions of real software are deltas measured between?
//!
//! Packages come through the clients of their own archives, are unpacked into `target/parts/delta`, and stay there.
//! PyPI and npm keep all versions, so theirs are pinned; Debian keeps the newest two or so, and those are taken.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::{parts, process};

/// Two consecutive versions of one thing.
#[derive(Debug)]
pub struct Pair {
    pub name: &'static str,
    /// What it is, and which versions.
    pub what: String,
    pub old: PathBuf,
    pub new: PathBuf,
}

const ESBUILD: [&str; 2] = ["0.25.8", "0.25.9"];
const NUMPY: [&str; 2] = ["2.2.5", "2.2.6"];
/// Packages of Debian that a security update replaces together.
const DEBIAN: [&str; 2] = ["libssl3", "systemd"];
/// The kernel line of Debian 12, without the modules of real hardware.
const KERNEL: (&str, &str) = ("linux-image-6.1.0-", "-cloud-amd64-unsigned");

pub fn fetch() -> anyhow::Result<Vec<Pair>> {
    let folder = process::root().join("target/parts/delta");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(vec![esbuild(&folder)?, numpy(&folder)?, debian(&folder)?, kernel(&folder)?])
}

/// A program written in Go.
fn esbuild(folder: &Path) -> anyhow::Result<Pair> {
    let files = ESBUILD.map(|version| folder.join(format!("esbuild-{version}")));
    for (version, file) in ESBUILD.iter().zip(&files).filter(|(_, file)| !file.is_file()) {
        let work = Work::new(folder)?;
        let npm = parts::npm()?;
        work.run(process::command(npm).args(["pack", "--silent", &format!("@esbuild/linux-x64@{version}")]))?;
        let package = format!("esbuild-linux-x64-{version}.tgz");
        work.run(process::command("tar").args(["-xzf", &package, "package/bin/esbuild"]))?;
        work.keep("package/bin/esbuild", file)?;
    }
    Ok(pair("esbuild", "npm @esbuild/linux-x64, the program", ESBUILD.map(str::to_owned), files))
}

/// Libraries written in C and Fortran, and Python.
fn numpy(folder: &Path) -> anyhow::Result<Pair> {
    let files = NUMPY.map(|version| folder.join(format!("numpy-{version}.tar")));
    for (version, file) in NUMPY.iter().zip(&files).filter(|(_, file)| !file.is_file()) {
        let work = Work::new(folder)?;
        let python = parts::python()?;
        let choice = ["--no-deps", "--only-binary", ":all:", "--python-version", "312"];
        let platform = ["--platform", "manylinux2014_x86_64"];
        let wheel = format!("numpy=={version}");
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check"];
        work.run(process::command(&python).args(pip).args(choice).args(platform).arg(wheel))?;
        let wheel = work.only(".whl")?;
        work.run(process::command(&python).args(["-m", "zipfile", "-e", &wheel, "tree"]))?;
        work.archive(file)?;
    }
    Ok(pair("numpy", "the wheel numpy for CPython 3.12 on x86-64, unpacked, as tar", NUMPY.map(str::to_owned), files))
}

/// Part of a root file system before and after an update.
fn debian(folder: &Path) -> anyhow::Result<Pair> {
    let mut versions = [Vec::new(), Vec::new()];
    for package in DEBIAN {
        let known = process::output(process::command("apt-cache").args(["madison", package]))?;
        let mut known: Vec<&str> = known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
        known.dedup();
        ensure!(known.len() >= 2, "Debian's archive has one version of {package} only, known are {known:?}");
        versions[0].push(format!("{package}={}", known[1]));
        versions[1].push(format!("{package}={}", known[0]));
    }
    let names = versions.each_ref().map(|packages| packages.join(" "));
    let files = packages_of_debian(folder, "debian", &versions)?;
    Ok(pair("debian", "Debian's packages, unpacked, as tar", names, files))
}

/// Modules of the kernel; all of them would take the other programs many minutes.
fn kernel(folder: &Path) -> anyhow::Result<Pair> {
    let known = process::output(process::command("apt-cache").args(["pkgnames", KERNEL.0]))?;
    let number = |name: &str| name.strip_prefix(KERNEL.0)?.strip_suffix(KERNEL.1)?.parse::<u32>().ok();
    let mut known: Vec<(u32, &str)> = known.lines().filter_map(|name| Some((number(name)?, name))).collect();
    known.sort_unstable();
    let Some([.., (_, old), (_, new)]) = known.get(..) else {
        anyhow::bail!("Debian's archive has fewer than two packages {}*{}: run this on Debian 12", KERNEL.0, KERNEL.1);
    };
    let names = [*old, *new].map(str::to_owned);
    let files = packages_of_debian(folder, "kernel-fs-net", &[vec![names[0].clone()], vec![names[1].clone()]])?;
    Ok(pair("kernel", "modules of Debian's kernel for file systems and networks, as tar", names, files))
}

/// Fetches packages of two versions and packs each set into one archive.
fn packages_of_debian(folder: &Path, name: &str, versions: &[Vec<String>; 2]) -> anyhow::Result<[PathBuf; 2]> {
    let file = |packages: &Vec<String>| {
        let version: String = packages.join("-").replace([':', '='], "_");
        folder.join(format!("{name}-{version}.tar"))
    };
    let files = versions.each_ref().map(file);
    for (packages, file) in versions.iter().zip(&files).filter(|(_, file)| !file.is_file()) {
        let work = Work::new(folder)?;
        for package in packages {
            work.run(process::command("apt-get").args(["--quiet=2", "download", package]))?;
            let package = work.only(".deb")?;
            work.run(process::command("dpkg").args(["-x", &package, "tree"]))?;
            work.remove(&package)?;
        }
        work.drop_modules_but(&["fs", "net"])?;
        work.archive(file)?;
    }
    Ok(files)
}

fn pair(name: &'static str, what: &str, versions: [String; 2], [old, new]: [PathBuf; 2]) -> Pair {
    Pair { name, what: format!("{what}: {} to {}", versions[0], versions[1]), old, new }
}

/// A folder that is gone when the work is done.
struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    fn new(folder: &Path) -> anyhow::Result<Work> {
        let folder = tempfile::tempdir_in(folder).context("making a folder to unpack in")?;
        std::fs::create_dir(folder.path().join("tree")).context("making a folder to unpack in")?;
        Ok(Work { folder })
    }

    fn run(&self, command: &mut std::process::Command) -> anyhow::Result<()> {
        process::run(command.current_dir(self.folder.path()))
    }

    /// The name of the one file that ends so.
    fn only(&self, end: &str) -> anyhow::Result<String> {
        let files = std::fs::read_dir(self.folder.path()).context("reading the folder to unpack in")?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
        ensure!(names.len() == 1, "one file {end} was expected, found are {names:?}");
        Ok(names.concat())
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.path().join(name)).with_context(|| format!("removing {name}"))
    }

    /// Leaves of a kernel only these folders of modules; of anything else everything.
    fn drop_modules_but(&self, kept: &[&str]) -> anyhow::Result<()> {
        let tree = self.folder.path().join("tree");
        let Ok(kernels) = std::fs::read_dir(tree.join("lib/modules")) else { return Ok(()) };
        let chosen = self.folder.path().join("chosen");
        std::fs::create_dir(&chosen).context("making a folder for modules")?;
        for kernel in kernels {
            let modules = kernel.context("reading the modules")?.path().join("kernel");
            for name in kept {
                let (from, to) = (modules.join(name), chosen.join(name));
                std::fs::rename(&from, to).with_context(|| format!("choosing {}", from.display()))?;
            }
        }
        std::fs::remove_dir_all(&tree).context("removing the other modules")?;
        std::fs::rename(chosen, tree).context("keeping the chosen modules")
    }

    /// Packs `tree`, the same bytes each time.
    fn archive(&self, file: &Path) -> anyhow::Result<()> {
        let owner = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"];
        self.run(process::command("tar").args(owner).args(["-cf", "done.tar", "-C", "tree", "."]))?;
        self.keep("done.tar", file)
    }

    fn keep(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        std::fs::rename(self.folder.path().join(name), file).with_context(|| format!("keeping {}", file.display()))
    }
}
