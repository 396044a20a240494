//! A process that has the network shuts itself out of the data that lies on its machine.
//!
//! What is left to it is a list: what any program reads that resolves names and connects ([`SYSTEM_PATHS`]), and the paths that
//! [`ShutOut`] names. A folder of the list in which the data lies too is not left to it as a whole, but entry by entry, down to the data:
//! what is made in such a folder later stays closed. A folder in which the process writes, or follows what others put there, must be
//! left to it as a whole, so data in one of those is refused.
//!
//! By the data's path, by links and mounts that lead to it, through `/proc` and through folders that were open before, the file is the
//! same, and is not opened. Not covered is another name of the same file, a hard link, in a folder of the list: those in folders of
//! [`ShutOut`] are looked for and named, those in [`SYSTEM_PATHS`] are not; nor is a mount of the data's folder inside one of them.
//! That a file is there, its size and its times can be seen still.
//!
//! What would open files for it is out of reach: of sockets it makes those of the network alone, so that no bus and no container engine
//! of its machine is asked, and a filter refuses what its own work never needs (other programs, other processes' memory, mounts, and
//! the calls that no filter sees).

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Demand, FilterDigest, SealError};

#[cfg(target_os = "linux")]
mod held;

/// What any program reads that resolves names, connects, and asks how large its machine is; of these, what is there.
///
/// Of `/proc`, the process itself and no other. No folder of temporary files, no device of a disk, nothing to execute.
pub const SYSTEM_PATHS: [&str; 27] = [
    "/etc",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/share",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys",
    "/proc/uptime",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
];

/// Where names are resolved, which often is a link to a file that a service replaces beside itself.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a process has to do with the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutOut {
    /// Files and folders that it must not open; they need not be there yet.
    pub data: Vec<PathBuf>,
    /// Files and folders that it reads.
    pub read: Vec<PathBuf>,
    /// Folders that it reads, with what others put there later.
    pub follow: Vec<PathBuf>,
    /// Folders in which it reads, makes, changes and removes files and folders, and files that it changes.
    pub write: Vec<PathBuf>,
    /// Files that say how it is held, or that are started for it: none of them may lie where it writes, or it would be held otherwise
    /// the next time.
    pub fixed: Vec<PathBuf>,
    /// Files that whoever reads the data may not have: none of them may lie in it.
    pub secrets: Vec<PathBuf>,
}

impl ShutOut {
    /// Whether the paths are such that what is demanded can hold them, and, where it is required, none that is left to the process
    /// opens the data. Restricts nothing.
    ///
    /// # Errors
    /// As [`shut_out`], for paths.
    pub fn check(&self, demand: Demand) -> Result<(), SealError> {
        if demand == Demand::Off {
            return Ok(());
        }
        let data = Data::of(self)?;
        let laid = rules(self, &data, demand)?;
        let is_left = |path: &PathBuf| {
            fs::canonicalize(path).is_ok_and(|at| laid.iter().any(|(left, _)| at.starts_with(left)))
        };
        match data.opened().into_iter().find(is_left) {
            Some(path) if demand == Demand::Required => Err(SealError::StillOpen(path)),
            _ => Ok(()),
        }
    }
}

/// What shutting a process out of the data has reached. A statement of the process about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutOutLevel {
    /// What was asked for.
    pub demand: Demand,
    /// The version of Landlock's interface that holds it; 0 where nothing does.
    pub landlock: u8,
    /// The filter of system calls, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterDigest>,
    /// Data that it could open all the same when it tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<PathBuf>,
}

impl ShutOutLevel {
    /// Whether it is what [`Demand::Required`] asks for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.landlock > 0 && self.filter.is_some() && self.open.is_empty()
    }
}

impl fmt::Display for ShutOutLevel {
    /// One line, for logs and people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { demand, landlock, filter, open } = self;
        match (demand, landlock) {
            (Demand::Off, _) => return write!(f, "off: this process can open the data"),
            (_, 0) => write!(f, "{demand}: no Landlock")?,
            (_, version) => write!(f, "{demand}: Landlock ABI {version}")?,
        }
        match filter {
            None => write!(f, ", no filter of system calls")?,
            Some(digest) => write!(f, ", filter {digest:.12}")?,
        }
        match open.as_slice() {
            [] => write!(f, ", none of the data can be opened"),
            [one] => write!(f, ", `{}` can be opened", one.display()),
            [first, rest @ ..] => {
                write!(f, ", `{}` and {} more can be opened", first.display(), rest.len())
            }
        }
    }
}

/// Shuts the calling process, for good, out of the data and of all else that `what` does not name; also out of its standard input, of
/// signals and sockets of others on its machine, and of the calls that its work does not need. Then it tries to open each file of the data. Called before there is a second thread, and after the
/// processes were started that are to read the data.
///
/// # Errors
/// With [`Demand::Required`]: a machine that cannot do it, data in a folder that the process writes in, and data that can be
/// opened all the same, or is open. Always, but for [`Demand::Off`]: a second thread, a secret in the data, and a path of `what` that is
/// not there (but of the data). The process is to end then.
pub fn shut_out(what: &ShutOut, demand: Demand) -> Result<ShutOutLevel, SealError> {
    if demand == Demand::Off {
        return Ok(ShutOutLevel { demand, landlock: 0, filter: None, open: Vec::new() });
    }
    let data = Data::of(what)?;
    let (landlock, filter) = hold(&rules(what, &data, demand)?, demand)?;
    let already = data.open_already()?;
    let named = data.opened();
    if demand == Demand::Required {
        if let Some((descriptor, data)) = already.into_iter().next() {
            return Err(SealError::OpenAlready { descriptor, data });
        }
        if let Some(path) = named.into_iter().next() {
            return Err(SealError::StillOpen(path));
        }
        return Ok(ShutOutLevel { demand, landlock, filter, open: Vec::new() });
    }
    let open = already.into_iter().map(|(_, data)| data).chain(named).collect();
    Ok(ShutOutLevel { demand, landlock, filter, open })
}

#[cfg(target_os = "linux")]
use held::hold;

#[cfg(not(target_os = "linux"))]
fn hold(_: &[Rule], demand: Demand) -> Result<(u8, Option<FilterDigest>), SealError> {
    match demand {
        Demand::Required => Err(SealError::NotHere),
        Demand::BestEffort | Demand::Off => Ok((0, None)),
    }
}

/// What is left to the process.
fn rules(what: &ShutOut, data: &Data, demand: Demand) -> Result<Vec<Rule>, SealError> {
    let mut rules = Rules { data, demand, laid: Vec::new() };
    what.secrets.iter().try_for_each(|secret| data.has_not(secret))?;
    for path in SYSTEM_PATHS.iter().map(Path::new) {
        rules.allow_if_there(path, Access::Read)?;
    }
    if let Some(folder) = fs::canonicalize(RESOLV_CONF).ok().as_deref().and_then(Path::parent) {
        rules.allow_if_there(folder, Access::Read)?;
    }
    rules.allow_if_there(Path::new("/dev/null"), Access::Write)?;
    what.read.iter().try_for_each(|path| rules.allow(path, Access::Read))?;
    what.follow.iter().try_for_each(|path| rules.allow(path, Access::Follow))?;
    what.write.iter().try_for_each(|path| rules.allow(path, Access::Write))?;
    for file in &what.fixed {
        let file = without_links(file).map_err(unreachable(file))?;
        let writes = |(folder, access): &&Rule| *access == Access::Write && file.starts_with(folder);
        if let Some((folder, _)) = rules.laid.iter().find(writes) {
            rules.conflict(SealError::FixedInside { folder: folder.clone(), file })?;
        }
    }
    Ok(rules.laid)
}

fn unreachable(path: &Path) -> impl FnOnce(io::Error) -> SealError {
    move |source| SealError::Path { path: path.to_owned(), source: Box::new(source) }
}

/// The data as it lies on the disk.
struct Data {
    /// The files and folders that stand for it, without links: what is named, and what links in it lead to.
    places: Vec<PathBuf>,
    /// Its files, and other names of them that were found.
    files: BTreeSet<PathBuf>,
    /// The same files by their device and number, whatever their names are.
    numbers: BTreeSet<(u64, u64)>,
}

impl Data {
    fn of(what: &ShutOut) -> Result<Self, SealError> {
        let mut found = Self { places: Vec::new(), files: BTreeSet::new(), numbers: BTreeSet::new() };
        let mut linked = BTreeSet::new();
        for path in &what.data {
            // Also as it is written: a link may lead elsewhere later.
            found.files.insert(path.clone());
            let place = without_links(path).map_err(unreachable(path))?;
            found.walk(place, &mut linked)?;
        }
        if !linked.is_empty() {
            for path in what.write.iter().chain(&what.follow).chain(&what.read) {
                found.look_for(path, &linked)?;
            }
        }
        Ok(found)
    }

    /// Takes in a place and all below it.
    fn walk(&mut self, place: PathBuf, linked: &mut BTreeSet<(u64, u64)>) -> Result<(), SealError> {
        if self.places.iter().any(|known| place.starts_with(known)) {
            return Ok(());
        }
        self.places.push(place.clone());
        let mut open = vec![place];
        while let Some(path) = open.pop() {
            let found = match path.symlink_metadata() {
                Ok(found) => found,
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => return Err(unreachable(&path)(why)),
            };
            if found.is_dir() {
                open.extend(entries(&path)?);
                continue;
            }
            if found.is_symlink() {
                let target = without_links(&path).map_err(unreachable(&path))?;
                self.walk(target, linked)?;
            } else {
                self.numbers.insert((found.dev(), found.ino()));
                if found.nlink() > 1 {
                    linked.insert((found.dev(), found.ino()));
                }
            }
            self.files.insert(path);
        }
        Ok(())
    }

    /// Takes in names of the same files below a folder that is left to the process.
    fn look_for(&mut self, path: &Path, linked: &BTreeSet<(u64, u64)>) -> Result<(), SealError> {
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let Ok(found) = path.symlink_metadata() else { continue };
            if found.is_dir() && !self.places.contains(&path) {
                open.extend(entries(&path)?);
            } else if linked.contains(&(found.dev(), found.ino())) {
                self.files.insert(path);
            }
        }
        Ok(())
    }

    fn has_not(&self, secret: &Path) -> Result<(), SealError> {
        let secret = without_links(secret).map_err(unreachable(secret))?;
        match self.places.iter().find(|data| secret.starts_with(data)) {
            Some(data) => Err(SealError::SecretInData { secret, data: data.clone() }),
            None => Ok(()),
        }
    }

    /// The files that this process has open, each with its descriptor.
    fn open_already(&self) -> Result<Vec<(String, PathBuf)>, SealError> {
        let mut open = Vec::new();
        let listed =
            if cfg!(target_os = "linux") { entries(Path::new("/proc/self/fd"))? } else { Vec::new() };
        for entry in listed {
            // The listing's own has gone.
            let Ok(found) = fs::metadata(&entry) else { continue };
            if self.numbers.contains(&(found.dev(), found.ino())) {
                let number = entry.file_name().map(|name| name.to_string_lossy().into_owned());
                open.extend(number.zip(fs::read_link(&entry).ok()));
            }
        }
        Ok(open)
    }

    /// The files that this process can open.
    fn opened(&self) -> Vec<PathBuf> {
        self.files.iter().filter(|path| File::open(path).is_ok()).cloned().collect()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SealError> {
    let listed = fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(unreachable(folder))
}

/// The path without links, as far as it is there.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let path = std::path::absolute(path)?;
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(why) };
            Ok(without_links(folder)?.join(name))
        }
        found => found,
    }
}

/// What a rule leaves to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    /// Reads, and what comes later too.
    Follow,
    Write,
}

/// All below a path, and what is left of it.
type Rule = (PathBuf, Access);

struct Rules<'a> {
    data: &'a Data,
    demand: Demand,
    laid: Vec<Rule>,
}

impl Rules<'_> {
    fn allow_if_there(&mut self, path: &Path, access: Access) -> Result<(), SealError> {
        if path.exists() { self.allow(path, access) } else { Ok(()) }
    }

    fn allow(&mut self, path: &Path, access: Access) -> Result<(), SealError> {
        let at = fs::canonicalize(path).map_err(unreachable(path))?;
        if let Some(data) = self.data.places.iter().find(|data| at.starts_with(data)) {
            self.conflict(SealError::InsideData { path: at.clone(), data: data.clone() })?;
        }
        self.lay(at, access)
    }

    /// Leaves all below a path to the process, but for the data.
    fn lay(&mut self, at: PathBuf, access: Access) -> Result<(), SealError> {
        let Some(data) = self.data.places.iter().find(|data| data.starts_with(&at) && **data != at) else {
            self.laid.push((at, access));
            return Ok(());
        };
        if matches!(access, Access::Write | Access::Follow) {
            self.conflict(SealError::DataInside { folder: at.clone(), data: data.clone() })?;
            self.laid.push((at, access));
            return Ok(());
        }
        for entry in entries(&at)? {
            if !entry.is_symlink() && !self.data.places.contains(&entry) {
                self.lay(entry, access)?;
            }
        }
        Ok(())
    }

    /// Where as much is asked for as there can be, the process goes on, and finds the data open when it tries.
    fn conflict(&self, why: SealError) -> Result<(), SealError> {
        if self.demand == Demand::Required { Err(why) } else { Ok(()) }
    }
}
