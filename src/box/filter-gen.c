/* filter-gen.c - run while rein is built: writes the system call filters as C, so that no command pays for putting them
 * together.
 *
 *     filter_box      a box with namespaces of its own
 *     filter_bare     Landlock alone: the network and the services are the host's, so there are no sockets at all but pairs
 *     filter_files    the process that works on a workspace's files: it runs nothing, talks to nobody but rein, and has only what
 *                     is listed
 *
 * What is refused reaches the kernel where it was broken before (io_uring, bpf, userfaultfd, keyrings), builds another box
 * around this one (mounts, namespaces), or leaves the machine by a way that a network namespace does not close (vsock). What
 * node, ASan and gdb need stays in: ptrace, personality, AF_UNIX. */
#include <errno.h>
#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#define NEW_TIME   0x80                 /* CLONE_NEWTIME: in clone that is part of the signal's number */
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
                    CLONE_NEWNET | NEW_TIME)


static const char *const refused[] = {
    "io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl", "bpf", "userfaultfd", "mount",
    "umount", "umount2", "pivot_root", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "chroot", "setns", "perf_event_open", "fanotify_init", "open_by_handle_at", "name_to_handle_at", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "acct", "quotactl",
    "quotactl_fd", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "iopl",
    "ioperm", "lookup_dcookie", "nfsservctl", "vhangup", "uselib", "create_module", "get_kernel_syms", "query_module", "ustat",
    "sysfs", "_sysctl",
};

/* Bits of an argument that may not be set: NAME, which argument, mask; `also`: only together with these bits of the one before
 * it. */
static const struct {
    const char *name;
    unsigned arg;
    uint64_t bit;
    uint64_t also;
} bits[] = {
    { "chmod", 1, S_ISUID, 0 }, { "chmod", 1, S_ISGID, 0 }, { "fchmod", 1, S_ISUID, 0 }, { "fchmod", 1, S_ISGID, 0 },
    { "fchmodat", 2, S_ISUID, 0 }, { "fchmodat", 2, S_ISGID, 0 }, { "fchmodat2", 2, S_ISUID, 0 }, { "fchmodat2", 2, S_ISGID, 0 },
    { "creat", 1, S_ISUID, 0 }, { "creat", 1, S_ISGID, 0 }, { "mknod", 1, S_ISUID, 0 }, { "mknod", 1, S_ISGID, 0 },
    { "mknodat", 2, S_ISUID, 0 }, { "mknodat", 2, S_ISGID, 0 },
    { "open", 2, S_ISUID, O_CREAT }, { "open", 2, S_ISGID, O_CREAT }, { "openat", 3, S_ISUID, O_CREAT }, { "openat", 3, S_ISGID,
        O_CREAT },
    { "open", 2, S_ISUID, O_TMPFILE & ~O_DIRECTORY }, { "openat", 3, S_ISUID, O_TMPFILE & ~O_DIRECTORY },
    { "open", 2, S_ISGID, O_TMPFILE & ~O_DIRECTORY }, { "openat", 3, S_ISGID, O_TMPFILE & ~O_DIRECTORY },
};

static void must(int r, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "filter-gen: %s: error %d\n", what, -r);
        exit(1);
    }
}

/* A call that this libseccomp does not know does not exist on its kernels either, or gets the rule by number below. */
static int number(const char *name)
{
    static const struct { const char *name; int nr; } newer[] = { { "fchmodat2", 452 }, { "open_tree_attr", 467 },
                                                                  { "quotactl_fd", 443 } };
    int nr = seccomp_syscall_resolve_name(name);

    for (size_t i = 0; nr == __NR_SCMP_ERROR && i < sizeof(newer) / sizeof(*newer); i++)
        if (strcmp(newer[i].name, name) == 0)
            return newer[i].nr;         /* the same on every architecture */
    return nr;
}

static void refuse(scmp_filter_ctx c, const char *name, int error, unsigned n, const struct scmp_arg_cmp *cmp)
{
    int nr = number(name);

    if (nr != __NR_SCMP_ERROR)
        must(seccomp_rule_add_array(c, SCMP_ACT_ERRNO((uint32_t)error), nr, n, cmp), name);
}

static void refuse_bit(scmp_filter_ctx c, const char *name, unsigned arg, uint64_t bit)
{
    struct scmp_arg_cmp cmp = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, bit, bit);

    refuse(c, name, EPERM, 1, &cmp);
}

static void sockets(scmp_filter_ctx c)
{
    static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
    struct scmp_arg_cmp cmp = SCMP_CMP64(0, SCMP_CMP_GT, AF_NETLINK, 0);

    for (int family = 0; family <= AF_NETLINK; family++) {
        struct scmp_arg_cmp one = SCMP_CMP64(0, SCMP_CMP_EQ, (uint64_t)family, 0);
        bool good = false;

        for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
            good = good || families[i] == family;
        if (!good)
            refuse(c, "socket", EAFNOSUPPORT, 1, &one);
    }
    refuse(c, "socket", EAFNOSUPPORT, 1, &cmp);
}

static void print(scmp_filter_ctx c, const char *name)
{
    struct sock_filter f[4096];
    FILE *temp = tmpfile();
    size_t n;

    if (!temp)
        exit(1);
    must(seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "bad arch");
    must(seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
    must(seccomp_export_bpf(c, fileno(temp)), "export");
    rewind(temp);
    n = fread(f, sizeof(*f), sizeof(f) / sizeof(*f), temp);
    if (n == 0 || n == sizeof(f) / sizeof(*f))
        exit(1);
    printf("static const struct sock_filter %s[] = {\n", name);
    for (size_t i = 0; i < n; i++)
        printf("    { 0x%x, %u, %u, 0x%x },\n", f[i].code, f[i].jt, f[i].jf, f[i].k);
    printf("};\n");
    seccomp_release(c);
    fclose(temp);
}

static void generate_files(void)
{
    static const char *const allowed[] = {
        "read", "write", "pread64", "pwrite64", "readv", "writev", "lseek", "close", "open", "openat", "openat2", "fstat", "stat",
        "lstat", "newfstatat", "fstatat64", "fstat64", "statx", "getdents64", "readlink", "readlinkat", "access", "faccessat",
        "faccessat2", "fcntl", "dup", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "mknod", "mknodat",
        "unlink", "unlinkat", "rmdir",
        "mkdir", "mkdirat",
        "chmod", "fchmod", "fchmodat", "fchown", "fchownat", "ftruncate", "mmap", "munmap", "mprotect", "mremap",
        "madvise", "brk", "futex", "set_robust_list", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
        "exit", "exit_group", "poll", "ppoll", "recvmsg", "recvfrom", "sendto", "sendmsg", "sched_getaffinity", "sched_yield",
        "getrandom", "clock_gettime", "clock_nanosleep", "gettid", "getpid", "getppid", "tgkill", "prlimit64", "sysinfo", "uname",
        "syncfs", "fgetxattr", "fsetxattr", "flistxattr",
        "fremovexattr", "utimensat", "getuid", "geteuid", "getgid", "getegid", "fstatfs", "restart_syscall",
    };
    const struct scmp_arg_cmp thread = SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM);
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));

    if (!c)
        exit(1);
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
        int nr = number(allowed[i]);

        if (nr != __NR_SCMP_ERROR)
            must(seccomp_rule_add_array(c, SCMP_ACT_ALLOW, nr, 0, NULL), allowed[i]);
    }
    must(seccomp_rule_add_array(c, SCMP_ACT_ERRNO(ENOSYS), number("clone3"), 0, NULL), "clone3");
    must(seccomp_rule_add_array(c, SCMP_ACT_ALLOW, number("clone"), 1, &thread), "clone");
    print(c, "filter_files");
}

static void generate(const char *name, bool may_talk)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);

    if (!c)
        exit(1);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        refuse(c, refused[i], EPERM, 0, NULL);
    /* Its flags lie in memory, where a filter cannot look: programs fall back to clone. */
    refuse(c, "clone3", ENOSYS, 0, NULL);
    for (uint64_t bit = 1; bit <= NAMESPACES; bit <<= 1)
        if (NAMESPACES & bit) {
            if (bit != NEW_TIME)
                refuse_bit(c, "clone", 0, bit);
            refuse_bit(c, "unshare", 0, bit);
        }
    for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        struct scmp_arg_cmp cmp[2] = {
            SCMP_CMP64(bits[i].arg, SCMP_CMP_MASKED_EQ, bits[i].bit, bits[i].bit),
            SCMP_CMP64(bits[i].arg - 1, SCMP_CMP_MASKED_EQ, bits[i].also, bits[i].also),
        };

        refuse(c, bits[i].name, EPERM, bits[i].also ? 2 : 1, cmp);
    }
    for (int i = 0; i < 2; i++) {       /* typing into a terminal in another's name; the kernel looks at 32 bits only */
        static const uint64_t typing[] = { TIOCSTI, TIOCLINUX };
        struct scmp_arg_cmp cmp = SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, 0xffffffff, typing[i]);

        refuse(c, "ioctl", EPERM, 1, &cmp);
    }
    if (may_talk)
        sockets(c);
    else
        refuse(c, "socket", EACCES, 0, NULL);
    print(c, name);
}

int main(int argc, char **argv)
{
    printf("/* Made by filter-gen.c. */\n#include <linux/filter.h>\n\n");
    if (argc > 1 && strcmp(argv[1], "files") == 0) {
        generate_files();
        return 0;
    }
    generate("filter_box", true);
    generate("filter_bare", false);
    return 0;
}
