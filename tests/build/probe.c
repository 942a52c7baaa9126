/* What a builder tries that it may not, one attempt for each word of the command line. Each
   prints its name and the error number, or 0 if the attempt went through. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

static void report(const char *name, long result) {
  printf("%s %d\n", name, result < 0 ? errno : 0);
  fflush(stdout);
}

static void make(const char *file) {
  int fd = open(file, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  if (fd < 0 || write(fd, "text\n", 5) != 5) {
    perror(file);
    exit(99);
  }
  close(fd);
}

/* The directory that attempts are made in becomes part of the output. */
static const char *in(const char *dir, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static void modes(const char *dir) {
  const char *file;
  make(file = in(dir, "by-chmod"));
  report("chmod", syscall(SYS_chmod, file, 04755));
  make(file = in(dir, "by-chmod-group"));
  report("chmod-group", syscall(SYS_chmod, file, 02755));
  make(file = in(dir, "by-fchmod"));
  int fd = open(file, O_RDONLY);
  report("fchmod", fchmod(fd, 04755));
  make(file = in(dir, "by-fchmodat"));
  report("fchmodat", syscall(SYS_fchmodat, AT_FDCWD, file, 04755));
  make(file = in(dir, "by-fchmodat2"));
  report("fchmodat2", syscall(SYS_fchmodat2, AT_FDCWD, file, 04755, 0));
  report("open", open(in(dir, "by-open"), O_CREAT | O_EXCL | O_WRONLY, 04755));
  report("creat", syscall(SYS_creat, in(dir, "by-creat"), 06755));
  struct { unsigned long flags, mode, resolve; } how = { O_CREAT | O_EXCL | O_WRONLY, 04755, 0 };
  report("openat2", syscall(SYS_openat2, AT_FDCWD, in(dir, "by-openat2"), &how, sizeof how));
  report("mknod-file", mknod(in(dir, "by-mknod"), S_IFREG | 04755, 0));
  fd = open(dir, O_TMPFILE | O_RDWR, 04755);
  report("tmpfile", fd);
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  report("linkat", linkat(AT_FDCWD, name, AT_FDCWD, in(dir, "by-tmpfile"), AT_SYMLINK_FOLLOW));
  report("mkdir", mkdir(in(dir, "by-mkdir"), 07755));
}

/* The same through the doors of the other architectures of the kernel. */
static void doors(const char *dir) {
#ifdef __x86_64__
  char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  make(strcpy(low, in(dir, "by-chmod-32")));
  int status;
  pid_t child = fork();
  if (child == 0) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(15), "b"(low), "c"(04755) : "memory");
    _exit(-result);
  }
  waitpid(child, &status, 0);
  /* A kernel without that door kills. */
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : ENOSYS;
  report("chmod-32", errno ? -1 : 0);
  make(strcpy(low, in(dir, "by-chmod-x32")));
  report("chmod-x32", syscall(0x40000000 | SYS_chmod, low, 04755));
#endif
}

static void attributes(const char *dir) {
  const char *file;
  make(file = in(dir, "attributes"));
  report("setxattr", setxattr(file, "user.secret", "x", 1, 0));
  report("lsetxattr", lsetxattr(file, "user.secret", "x", 1, 0));
  int fd = open(file, O_RDONLY);
  report("fsetxattr", fsetxattr(fd, "user.secret", "x", 1, 0));
  struct { unsigned long value; unsigned size, flags; } args = { (unsigned long)"x", 1, 0 };
  report("setxattrat", syscall(SYS_setxattrat, AT_FDCWD, file, 0, "user.secret", &args, sizeof args));
}

static void kernel(void) {
  report("io_uring", syscall(SYS_io_uring_setup, 1, 0));
  report("bpf", syscall(SYS_bpf, 0, 0, 0));
  report("add_key", syscall(SYS_add_key, "user", "k", "v", 1, -3));
  report("kexec", syscall(SYS_kexec_load, 0, 0, 0, 0));
  report("init_module", syscall(SYS_init_module, 0, 0, ""));
  report("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
  report("chroot", chroot("/"));
  report("mknod-device", mknod("device", S_IFBLK | 0600, 0xfe00));
  report("sethostname", sethostname("localhost", 9));
  report("setuid", setuid(0));
  report("setgroups", syscall(SYS_setgroups, 0, 0));
  report("mount", mount("none", "/tmp", "tmpfs", 0, 0));
}

/* A new user namespace has all rights, but only over itself. */
static void nested(const char *input) {
  report("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS));
  report("nested-remount", mount("none", input, 0, MS_REMOUNT | MS_BIND, 0));
  report("nested-umount", umount2(input, MNT_DETACH));
  report("nested-chmod", chmod(input, 0777));
}

static void process(int pid) {
  report("kill", kill(pid, 0));
  report("ptrace", ptrace(PTRACE_SEIZE, pid, 0, 0));
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/root", pid);
  report("proc-root", open(path, O_PATH | O_DIRECTORY));
}

static void network(int port) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  report("loopback", connect(fd, (struct sockaddr *)&address, sizeof address));
}

static socklen_t abstract(struct sockaddr_un *address, const char *name) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  strncpy(address->sun_path + 1, name, sizeof address->sun_path - 2);
  return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}

/* Sends a descriptor of a file to whoever listens at an abstract address. */
static void send_descriptor(const char *name, const char *file) {
  struct sockaddr_un address;
  socklen_t length = abstract(&address, name);
  int fd = open(file, O_RDWR | O_CREAT, 0644);
  if (write(fd, "built\n", 6) != 6) exit(99);
  int to = socket(AF_UNIX, SOCK_STREAM, 0);
  long connected = connect(to, (struct sockaddr *)&address, length);
  report("abstract", connected);
  if (connected < 0) return;
  char byte = 'x', space[CMSG_SPACE(sizeof(int))];
  struct iovec data = { &byte, 1 };
  struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
                            .msg_controllen = sizeof space };
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  report("sendmsg", sendmsg(to, &message, 0));
}

/* The helper outside: takes a descriptor, waits for the line on stdin, and writes to it. */
static void take_descriptor(const char *name) {
  struct sockaddr_un address;
  socklen_t length = abstract(&address, name);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0) {
    perror("listen");
    exit(99);
  }
  printf("listening\n");
  fflush(stdout);
  int from = accept(listener, 0, 0);
  char byte, space[CMSG_SPACE(sizeof(int))];
  struct iovec data = { &byte, 1 };
  struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
                            .msg_controllen = sizeof space };
  if (recvmsg(from, &message, 0) < 1) exit(99);
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  printf("taken\n");
  fflush(stdout);
  if (getchar() == EOF) exit(98);
  report("write", pwrite(fd, "CHANGED AFTERWARDS\n", 19, 0));
}

/* A socket in the file system. */
static void named_socket(const char *path) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  report("socket", bind(fd, (struct sockaddr *)&address, sizeof address));
}

/* Writing to inputs and to what is outside. */
static void writing(const char *path) {
  report("write-input", open(path, O_WRONLY));
  report("truncate-input", truncate(path, 0));
  report("chmod-input", chmod(path, 0666));
  report("rename-input", rename(path, "moved"));
  report("unlink-input", unlink(path));
  report("link-input", link(path, "linked"));
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  const char *one = count > 2 ? words[2] : "";
  const char *two = count > 3 ? words[3] : "";
  umask(0);
  if (!strcmp(what, "modes")) modes(one), doors(one);
  else if (!strcmp(what, "attributes")) attributes(one);
  else if (!strcmp(what, "kernel")) kernel();
  else if (!strcmp(what, "nested")) nested(one);
  else if (!strcmp(what, "process")) process(atoi(one));
  else if (!strcmp(what, "network")) network(atoi(one));
  else if (!strcmp(what, "send")) send_descriptor(one, two);
  else if (!strcmp(what, "take")) take_descriptor(one);
  else if (!strcmp(what, "socket")) named_socket(one);
  else if (!strcmp(what, "writing")) writing(one);
  else return 97;
  return 0;
}
