//! A small disk of one scenario's own, to fill and to make read-only. It needs no special rights: it exists only in a
//! mount namespace, which its processes enter.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A disk in memory; gone when dropped.
pub struct Disk {
    /// Holds the namespace.
    holder: Child,
    path: PathBuf,
    bytes: u64,
}

impl Disk {
    /// A disk of so many bytes at a path, for those who are in its namespace; `None` where the machine grants no
    /// namespaces, which is said.
    pub fn at(path: &Path, bytes: u64) -> Option<Disk> {
        std::fs::create_dir_all(path).unwrap();
        let script =
            format!("mount -t tmpfs -o size={bytes} none \"$0\" && echo ready && exec sleep infinity");
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        if holder.stdout.as_mut().unwrap().read_exact(&mut ready).is_err() {
            // Containers often forbid it; what the scenario shows is then not shown here.
            eprintln!("left out: no disk can be mounted here, unprivileged user namespaces are needed");
            holder.wait().unwrap();
            return None;
        }
        Some(Disk { holder, path: path.to_owned(), bytes })
    }

    /// The program under which a process is in the namespace, with the directory that holds the disk as its own.
    pub fn enter(&self) -> Vec<String> {
        let (target, home) = (self.holder.id().to_string(), self.path.parent().unwrap().to_str().unwrap());
        let enter = ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", &target];
        // Entering leads to the root directory.
        let go_home = ["sh", "-c", "cd \"$0\" && exec \"$@\"", home];
        enter.into_iter().chain(go_home).map(str::to_owned).collect()
    }

    /// Takes all room that is left.
    pub fn fill(&self) {
        // It ends when there is no more room, and in any case.
        let _ = self.shell(&format!("head -c {} /dev/zero >ballast 2>/dev/null", self.bytes));
    }

    /// Gives the room back.
    pub fn make_room(&self) {
        assert!(self.shell("rm ballast"), "the ballast is there");
    }

    /// Lets nothing be written from now on, or again.
    pub fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "ro" } else { "rw" };
        // A file that is just being written holds it up.
        let again = (0..100).any(|_| self.shell(&format!("mount -o remount,{mode} \"$PWD\" 2>/dev/null")));
        assert!(again, "the disk is not remounted {mode}");
    }

    fn shell(&self, script: &str) -> bool {
        let enter = self.enter();
        let script = format!("cd \"$0\" && {script}");
        let status =
            Command::new(&enter[0]).args(&enter[1..]).args(["sh", "-c", &script]).arg(&self.path).status();
        status.unwrap().success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
