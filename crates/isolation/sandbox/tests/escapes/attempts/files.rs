use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};

use libc::{F_WRLCK, SEEK_SET, flock};
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::truncate;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, Timespec, Timestamps, UTIME_NOW, XattrFlags, inotify,
    mknodat, setxattr, utimensat,
};

use super::{Attempt, attempt};
use crate::place::Place;

pub(super) const ALL: &[Attempt] = &[
    attempt("read /etc/shadow", |_| fs::read("/etc/shadow").map(drop)),
    attempt("read a key", |place| fs::read(place.key()).map(drop)),
    attempt("read another data set", |place| fs::read(place.other_data().join("table.csv")).map(drop)),
    attempt("list the folder of another data set", |place| fs::read_dir(place.other_data()).map(drop)),
    attempt("read a key through a link left in the task folder", |place| {
        fs::read(place.task().join("link")).map(drop)
    }),
    attempt("read the parent's environment", |place| fs::read(place.of_parent("environ")).map(drop)),
    attempt("open the parent's memory", |place| File::open(place.of_parent("mem")).map(drop)),
    attempt("list the parent's descriptors", |place| fs::read_dir(place.of_parent("fd")).map(drop)),
    attempt("write outside the task folder", |place| fs::write(place.base.join("out"), "a row")),
    attempt("write to a device", |_| fs::write("/dev/null", "a row")),
    attempt("leave something in shared memory", |place| {
        let name = place.base.file_name().map_or_else(Default::default, |name| name.to_os_string());
        let path = std::path::Path::new("/dev/shm").join(name);
        fs::write(&path, "a row")?;
        fs::remove_file(path)
    }),
    attempt("overwrite the data", |place| {
        OpenOptions::new().append(true).open(place.data().join("table.csv")).map(drop)
    }),
    attempt("empty the data by opening it to read", |place| {
        let flags = rustix::fs::OFlags::TRUNC.bits() as i32;
        let path = place.data().join("table.csv");
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(drop)
    }),
    attempt("cut the data by its path", |place| Ok(truncate(&place.data().join("table.csv"), 1)?)),
    attempt("delete a key", |place| fs::remove_file(place.key())),
    attempt("move a key into the task folder", |place| fs::rename(place.key(), place.task().join("key"))),
    attempt("link a key into the task folder", |place| fs::hard_link(place.key(), place.task().join("key"))),
    attempt("make a symbolic link", |place| symlink(place.key(), place.task().join("second"))),
    attempt("make a named pipe", |place| {
        Ok(mknodat(CWD, place.task().join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
    }),
    attempt("lock the data", |place| File::open(place.data().join("table.csv"))?.lock_shared()),
    attempt("lock a part of the data", |place| {
        let data = File::open(place.data().join("table.csv"))?;
        Ok(rustix::fs::fcntl_lock(data, FlockOperation::NonBlockingLockShared)?)
    }),
    attempt("see whether another has locked the data", |place| {
        let data = File::open(place.data().join("table.csv"))?;
        let mut lock =
            flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
        Ok(fcntl(data, FcntlArg::F_OFD_GETLK(&mut lock)).map(drop)?)
    }),
    attempt("change a key's permissions", |place| {
        fs::set_permissions(place.key(), Permissions::from_mode(0o666))
    }),
    attempt("change a key's owner", |place| {
        chown(place.key(), Some(rustix::process::getuid().as_raw()), None)
    }),
    attempt("change a key's times", |place| {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(utimensat(CWD, place.key(), &times, AtFlags::empty())?)
    }),
    attempt("change a key's attributes", |place| {
        Ok(setxattr(place.key(), "user.row", b"61,1", XattrFlags::empty())?)
    }),
    attempt("watch the folder of the keys", |place| {
        let watch = inotify::init(inotify::CreateFlags::empty())?;
        inotify::add_watch(watch, place.base.join("keys"), inotify::WatchFlags::ALL_EVENTS)?;
        Ok(())
    }),
    attempt("fill the disk with one file", |place| {
        File::create(place.task().join("large"))?.set_len(1 << 40)
    }),
];

/// What the sealed process may do all the same, so that what is refused is not refused to everybody.
pub(crate) fn allowed(place: &Place) -> io::Result<()> {
    assert!(fs::read_to_string(place.data().join("table.csv"))?.contains("61,1"));
    assert_eq!(fs::read_dir(place.data())?.count(), 1);
    let folder = place.task().join("folder");
    fs::create_dir(&folder)?;
    let file = folder.join("file");
    fs::write(&file, "first")?;
    fs::write(&file, "second")?;
    fs::rename(&file, folder.join("renamed"))?;
    assert_eq!(fs::read_to_string(folder.join("renamed"))?, "second");
    fs::remove_file(folder.join("renamed"))?;
    fs::remove_dir(folder)
}
