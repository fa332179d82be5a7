#include "userspace/daemon/steering_pins.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "userspace/daemon/steering.h"
#include "ingress.skel.h"

#define FG_BPFFS "/sys/fs/bpf"

/* The maps that are pinned: what docs/maps.md describes. */
static const char *const pinned[] = {"live",	  "services", "slots", "xsks", "socks_udp",
				     "socks_tcp", "buckets",  "acl",   "host", "counters"};

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static char *pin_path(const char *dir, const char *name, char *path, size_t size)
{
	return (size_t)snprintf(path, size, "%s/%s", dir, name) < size ? path : NULL;
}

char *fg_pins_table_path(const char *dir, unsigned int service, char *path, size_t size)
{
	char name[32];

	snprintf(name, sizeof(name), "table-%u", service);
	return pin_path(dir, name, path, size);
}

static int mount_bpffs(const char *dir, struct fg_error *error)
{
	if (strncmp(dir, FG_BPFFS "/", strlen(FG_BPFFS) + 1) || is_bpffs(FG_BPFFS))
		return 0;
	if (mount("bpf", FG_BPFFS, "bpf", 0, "mode=0700"))
		return fg_error_set(error, -errno,
				    "no bpffs at " FG_BPFFS " and mounting one failed: %s",
				    strerror(errno));
	return 0;
}

/* mkdir -p */
static int make_dir(const char *dir, struct fg_error *error)
{
	char path[PATH_MAX];

	if (dir[0] != '/' || strlen(dir) >= sizeof(path))
		return fg_error_set(error, -EINVAL, "pin_dir \"%s\": not an absolute path", dir);
	for (size_t i = 1;; i++) {
		if (dir[i] && dir[i] != '/')
			continue;
		memcpy(path, dir, i);
		path[i] = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return fg_error_set(error, -errno, "pin_dir %s: cannot make %s: %s%s", dir,
					    path, strerror(errno),
					    strchr(path, '.') ? " (a bpffs allows no '.' in names)"
							      : "");
		if (!dir[i])
			return 0;
	}
}

/* By name, because pin_dir may be a directory that others pin in too. */
static void remove_pins(const char *dir)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(pinned) / sizeof(pinned[0]); i++)
		if (pin_path(dir, pinned[i], path, sizeof(path)))
			unlink(path);
	for (unsigned int service = 0; service < FG_MAX_SERVICES; service++)
		if (fg_pins_table_path(dir, service, path, sizeof(path)))
			unlink(path);
}

int fg_pins_open(const char *dir, struct fg_error *error)
{
	int fd, err = mount_bpffs(dir, error);

	if (!err)
		err = make_dir(dir, error);
	if (err)
		return err;
	if (!is_bpffs(dir))
		return fg_error_set(error, -EINVAL,
				    "pin_dir %s: not on a bpffs (mount -t bpf bpf %s)", dir,
				    FG_BPFFS);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fg_error_set(error, -errno, "pin_dir %s: %s", dir, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		close(fd);
		return fg_error_set(error, err,
				    "pin_dir %s: %s; stop the other flipgated or give this one "
				    "another pin_dir",
				    dir, err == -EBUSY ? "in use" : strerror(-err));
	}
	remove_pins(dir);
	return fd;
}

int fg_pins_add(const struct fg_steering *steering, struct fg_error *error)
{
	const char *dir = steering->config.pin_dir;
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(pinned) / sizeof(pinned[0]); i++) {
		const char *name = strcmp(pinned[i], "host") ? pinned[i] : ".bss";
		int map = bpf_object__find_map_fd_by_name(steering->ingress->obj, name);
		int err = map < 0 ? map : 0;

		/* Not bpf_map__pin: that takes what it once pinned for pinned. */
		if (!err)
			err = pin_path(dir, pinned[i], path, sizeof(path)) ? bpf_obj_pin(map, path)
									   : -ENAMETOOLONG;
		if (err)
			return fg_error_set(error, err, "cannot pin map %s in %s: %s", pinned[i],
					    dir, strerror(-err));
	}
	return 0;
}

bool fg_pins_there(const char *dir, int fd)
{
	struct stat there, ours;

	return !stat(dir, &there) && !fstat(fd, &ours) && there.st_dev == ours.st_dev &&
	       there.st_ino == ours.st_ino;
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.id;
}

bool fg_pins_ours(const struct fg_steering *steering)
{
	char path[PATH_MAX];
	uint32_t id = map_id(steering->live);
	bool ours = false;
	int fd;

	if (!pin_path(steering->config.pin_dir, "live", path, sizeof(path)))
		return false;
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		ours = id && map_id(fd) == id;
		close(fd);
	}
	return ours;
}

void fg_pins_remove(const char *dir)
{
	remove_pins(dir);
	rmdir(dir);
}
