//! File systems for the data of Postgres and NATS alone. They lose what was not synced, as when the power fails, and they fill up. Needs
//! root and loop devices.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use stack::data_folder::DataFolder;
use stack::progress::report;
use stack::provision::remove_folder;
use stack::tool::Tool;

/// The servers with a file system, and its size. The file takes no more space than what is written.
pub const DISKS: [(&str, u64); 2] = [("postgres", 8 << 30), ("nats", 2 << 30)];
/// The journal is written when a file is synced, and seldom otherwise.
const OPTIONS: &str = "loop,noatime,commit=300";
/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: the file system writes nothing any more, not even its journal. In Perl, as an
/// ioctl is unsafe in Rust.
const SHUT_DOWN: &str = r#"open(my $folder, "<", $ARGV[0]) or die $!; my $flags = pack("L", 2); ioctl($folder, 0x8004587d, $flags) or die $!"#;

/// A process that was killed may use a file for some more time.
const UNMOUNTS_WITHIN: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const CHUNK: [u8; 4096] = [0; 4096];

#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

/// Where the file systems are mounted.
fn folder(data: &DataFolder) -> PathBuf {
    data.path().join("disks")
}

/// Removes file systems that a killed run has left behind.
pub fn unmount_all(data: &Path) -> Result<()> {
    for (name, _) in DISKS {
        let mounted = data.join("disks").join(name);
        if is_mounted(&mounted)? {
            run("umount", &[mounted.as_os_str()])?;
        }
    }
    Ok(())
}

impl Disk {
    /// Moves the data of a server that is stopped to a file system of its own.
    pub fn create(data: &DataFolder, name: &str, bytes: u64) -> Result<Self> {
        let content = data.path().join(name);
        let mounted = folder(data).join(name);
        fs::create_dir_all(&mounted)?;
        let disk = Self { image: mounted.with_extension("image"), mounted };
        File::create(&disk.image)?.set_len(bytes)?;
        run("mkfs.ext4", &["-q".as_ref(), "-m0".as_ref(), disk.image.as_os_str()])?;
        disk.mount()?;
        let moved = disk.mounted.join("data");
        run("cp", &["-a".as_ref(), content.as_os_str(), moved.as_os_str()])?;
        run("sync", &["-f".as_ref(), moved.as_os_str()])?;
        remove_folder(&content)?;
        symlink(moved, content)?;
        Ok(disk)
    }

    fn mount(&self) -> Result<()> {
        run("mount", &["-o".as_ref(), OPTIONS.as_ref(), self.image.as_os_str(), self.mounted.as_os_str()])
    }

    fn unmount(&self) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = run("umount", &[self.mounted.as_os_str()]) {
            ensure!(started.elapsed() < UNMOUNTS_WITHIN, error);
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// From now on nothing is written, and what was not synced is lost.
    pub fn cut_power(&self) -> Result<()> {
        run("perl", &["-e".as_ref(), SHUT_DOWN.as_ref(), self.mounted.as_os_str()])
    }

    /// Once no process uses it any more. A container that is being started may keep the file system as it was for a moment.
    pub fn restore_power(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.unmount()?;
            self.mount()?;
            let probe = self.mounted.join("probe");
            match File::create(&probe) {
                Ok(_) => return Ok(fs::remove_file(probe)?),
                Err(error) => ensure!(started.elapsed() < UNMOUNTS_WITHIN, error),
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Takes all free space until the result is dropped.
    pub fn fill(&self) -> Result<Filling> {
        let filling = Filling(self.mounted.join("filling"));
        let mut file = File::create(&filling.0)?;
        let free = statvfs(&self.mounted)?;
        let bytes = free.blocks_available() * free.fragment_size();
        // A part of it goes to the file's own metadata: the rest is written.
        let most = i64::try_from(bytes)? * 99 / 100;
        fallocate(&file, FallocateFlags::empty(), 0, most)?;
        file.seek(SeekFrom::End(0))?;
        loop {
            match file.write(&CHUNK) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(filling),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            report(format_args!("{error:#}"));
        }
    }
}

/// The file that takes all space.
#[derive(Debug)]
pub struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        // Synced, so that a power loss does not bring it back.
        let folder = self.0.parent().unwrap_or(&self.0);
        let removed = fs::remove_file(&self.0).map_err(Into::into);
        if let Err(error) = removed.and_then(|()| run("sync", &["-f".as_ref(), folder.as_os_str()])) {
            report(format_args!("cannot remove {}: {error:#}", self.0.display()));
        }
    }
}

fn is_mounted(folder: &Path) -> Result<bool> {
    let Ok(folder) = folder.canonicalize() else { return Ok(false) };
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|mounted| Path::new(mounted) == folder)))
}

fn run(program: &str, arguments: &[&OsStr]) -> Result<()> {
    Tool::new(program).args(arguments).output().map(drop)
}
