use super::*;

fn write(path: &Path, replace: Replace, text: &str) -> Result<(), WriteError> {
    let mut file = OutputFile::create(path, replace)?;
    file.write_all(text.as_bytes()).expect("a writable file");
    file.commit()
}

#[test]
fn a_file_appears_whole_and_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("file");
    let mut file = OutputFile::create(&target, Replace::Always).unwrap();
    file.write_all(b"one").unwrap();
    assert!(!target.exists());
    file.commit().unwrap();
    let mut file = OutputFile::create(&target, Replace::Always).unwrap();
    file.write_all(b"two").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"one");
    file.commit_unsynced().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"two");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = OutputFile::create(&dir.path().join("file"), Replace::Always).unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_files_of_others_stay_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let is_ours = |head: &str| head.starts_with("ours");
    fs::write(&path, "").unwrap();
    write(&path, Replace::Never, "somebody else's").expect("an empty file was made for this");
    for (replace, reason) in [
        (Replace::Never, "exists; --force replaces it"),
        (
            Replace::Own(is_ours),
            "ggufbench did not write it; --force replaces it",
        ),
    ] {
        let e = write(&path, replace, "x").unwrap_err().to_string();
        assert!(e.ends_with(reason), "{e}");
        assert!(check(&path, replace).is_err());
    }
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    write(&path, Replace::Always, "ours").unwrap();
    write(&path, Replace::Own(is_ours), "ours again").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours again");
}

#[test]
fn what_comes_while_a_new_file_is_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mut file = OutputFile::create(&path, Replace::Never).unwrap();
    file.write_all(b"late").unwrap();
    fs::write(&path, "early").unwrap();
    assert!(matches!(file.commit(), Err(WriteError::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), b"early");
}

#[test]
fn a_folder_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let e = write(dir.path(), Replace::Always, "x").unwrap_err();
    assert!(matches!(e, WriteError::Folder(_)), "{e}");
    assert!(matches!(
        write(&dir.path().join("missing/file"), Replace::Always, "x"),
        Err(WriteError::Io { .. })
    ));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn of_a_link_the_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        fs::write(path("inner/file"), "old").unwrap();
        symlink("inner/file", path("link")).unwrap();
        symlink("link", path("link to link")).unwrap();
        write(&path("link to link"), Replace::Always, "new").unwrap();
        assert_eq!(fs::read(path("inner/file")).unwrap(), b"new");
        assert_eq!(
            fs::read_link(path("link")).unwrap(),
            Path::new("inner/file")
        );
        assert_eq!(
            fs::read_link(path("link to link")).unwrap(),
            Path::new("link")
        );
        // A link to a file that is not there yet.
        symlink("inner/later", path("ahead")).unwrap();
        write(&path("ahead"), Replace::Never, "now").unwrap();
        assert_eq!(fs::read(path("inner/later")).unwrap(), b"now");
        assert!(fs::symlink_metadata(path("ahead")).unwrap().is_symlink());
        // A link to itself ends.
        symlink("round", path("round")).unwrap();
        assert!(write(&path("round"), Replace::Always, "x").is_err());
    }

    #[test]
    fn permissions_are_kept_and_protection_is_heeded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for kept in [0o600, 0o640, 0o666] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            write(&path, Replace::Always, "new").unwrap();
            assert_eq!(mode(&path), kept);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        write(&path, Replace::Always, "new").unwrap();
        assert_eq!(mode(&path), 0o755, "no program of another user's rights");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let may_anyway = OpenOptions::new().write(true).open(&path).is_ok();
        assert_eq!(write(&path, Replace::Always, "more").is_ok(), may_anyway);
    }

    #[test]
    fn a_pipe_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo exists").success());
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || fs::read_to_string(path).unwrap())
        };
        write(&path, Replace::Never, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        assert!(super::super::super::is_stream(&path));
    }

    /// A node for a device in a folder of the test's own; none for users who may not make or open one there.
    fn node(path: &Path, kind: &str, major: &str, minor: &str) -> bool {
        let made = std::process::Command::new("mknod")
            .arg(path)
            .args([kind, major, minor])
            .output();
        made.is_ok_and(|out| out.status.success())
            && (kind == "b" || OpenOptions::new().write(true).open(path).is_ok())
    }

    #[test]
    fn a_device_is_written_to_and_a_disk_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        if node(&path("null"), "c", "1", "3") {
            symlink("null", path("link")).unwrap();
            for name in ["null", "link"] {
                write(&path(name), Replace::Never, "gone").unwrap();
            }
            assert!(
                fs::symlink_metadata(path("null"))
                    .unwrap()
                    .file_type()
                    .is_char_device()
            );
            assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        }
        if node(&path("full"), "c", "1", "7") {
            let mut full = OutputFile::create(&path("full"), Replace::Never).unwrap();
            let e = full.write_all(b"x").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::StorageFull);
        }
        if node(&path("disk"), "b", "7", "250") {
            let e = write(&path("disk"), Replace::Always, "x").unwrap_err();
            assert!(matches!(e, WriteError::Disk(_)), "{e}");
            assert!(
                fs::symlink_metadata(path("disk"))
                    .unwrap()
                    .file_type()
                    .is_block_device()
            );
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut through = OutputFile::through(Path::new("pipe"), OutputStream::Open(file)).unwrap();
        through.write_all(b"nobody").unwrap();
        through.write_all(b"reads").unwrap();
        through.commit().unwrap();
    }
}
