#include "env/box.h"

#include "base/path.h"
#include "env/local.h"
#include "env/proxy.h"
#include "rt/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void profile_add(struct buf *out, const char *verb, const char *a, const char *b)
{
    buf_add(out, verb, strlen(verb) + 1);
    buf_add(out, a, strlen(a) + 1);
    buf_add(out, b, strlen(b) + 1);
}

#define HOLD_MS   10000
#define COPIES_MAX (INT64_C(1) << 30)   /* bytes */
#define BOX_RUN "/run/rein"

static void number(struct buf *out, const char *name, int64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)n);
    profile_add(out, "limit", name, text);
}

static const char *user_home(void)
{
    const char *home = getenv("HOME");

    return home && home[0] == '/' && home[1] ? home : "/home/rein";
}

static void add_system(struct buf *out)
{
    static const char *const shown[] = {
        "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/nix/var/nix/profiles", "/gnu/store",
        "/sys/devices/system", "/sys/kernel/mm/transparent_hugepage", "/var/lib/dpkg", "/var/lib/rpm", "/var/cache/fontconfig",
        "/run/current-system", "/run/wrappers",
    };
    /* Of /etc what programs look up; neither passwords nor keys nor the services' settings. */
    static const char *const etc[] = {
        "passwd", "group", "nsswitch.conf", "hosts", "host.conf", "hostname", "resolv.conf", "gai.conf", "services", "protocols",
        "rpc", "networks", "ethertypes", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "alternatives", "ssl/certs",
        "ssl/openssl.cnf", "pki/tls/certs", "pki/ca-trust", "ca-certificates", "ca-certificates.conf", "crypto-policies",
        "localtime", "timezone", "locale.alias", "locale.conf", "default/locale", "os-release", "lsb-release", "debian_version",
        "redhat-release", "alpine-release", "arch-release", "system-release", "mime.types", "magic", "magic.mime", "inputrc",
        "bash.bashrc", "bashrc", "profile", "profile.d", "zsh", "shells", "environment", "terminfo", "fonts", "java",
        "java-17-openjdk", "java-11-openjdk", "java-21-openjdk", "jvm", "maven", "gradle", "perl", "python3", "python2",
        "python3.11", "python3.12", "python3.13", "python", "php", "ruby", "R", "texmf", "ghostscript", "ImageMagick-6",
        "ImageMagick-7", "X11/rgb.txt", "emacs", "vim", "nanorc", "less", "lesskey", "screenrc", "tmux.conf", "dpkg/origins",
        "dpkg/shlibs.default", "papersize", "OpenCL", "vulkan", "glvnd", "gnutls", "gdb", "valgrind", "libibverbs.d", "openmpi",
        "netconfig", "manpath.config", "machine-id", "rc.maven", "sgml", "xml", "groff", "apparmor.d/abstractions",
        "ld-nix.so.preload", "static", "nix/nix.conf",
    };

    for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
        if (access(shown[i], F_OK) == 0)
            profile_add(out, "ro", shown[i], "");
    for (size_t i = 0; i < ARRAY_SIZE(etc); i++) {
        cleanup(freep) char *path = xasprintf("/etc/%s", etc[i]);

        if (access(path, R_OK) == 0)
            profile_add(out, "ro", path, "");
    }
}

static bool covered(const char *path, const char *const *places, size_t n, const char *home)
{
    const char *below;

    for (size_t i = 0; i < n; i++) {
        cleanup(freep) char *place = home ? xasprintf("%s/%s", home, places[i]) : xstrdup(places[i]);

        if (path_beneath(place, path, &below))
            return true;
    }
    return false;
}

/* Variables that say which certificates programs trust. A file that they name is shown, wherever it lies. */
static const char *const trusted[] = {
    "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH", "PIP_CERT", "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS", "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
};

static void add_trusted(struct buf *out)
{
    static const char *const shown[] = { "/usr", "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust" };

    for (size_t i = 0; i < ARRAY_SIZE(trusted); i++) {
        const char *path = getenv(trusted[i]);
        struct stat st;

        if (path && path[0] == '/' && stat(path, &st) == 0 && S_ISREG(st.st_mode) && !covered(path, shown, ARRAY_SIZE(shown), NULL))
            profile_add(out, "ro", path, "");
    }
}

/* Folders of a home that hold programs, and what of them is nobody's business. */
static const char *const toolchains[] = {
    ".cargo", ".rustup", ".nvm", ".fnm", ".pyenv", ".rbenv", ".nodenv", ".goenv", ".jenv", ".sdkman", ".asdf", ".volta", ".bun",
    ".deno", "go", ".ghcup", ".cabal", ".stack", ".opam", ".nimble", ".dotnet", ".juliaup", ".julia", ".elan", "miniconda3",
    "anaconda3", "miniforge3", "mambaforge", ".local/bin", ".local/lib", ".local/opt", ".local/pipx", ".local/share/mise",
    ".local/share/uv", ".local/share/fnm", ".local/share/pnpm", ".local/share/pipx", ".local/share/virtualenvs", ".nix-profile",
};
static const char *const credentials[] = {
    ".cargo/credentials", ".cargo/credentials.toml", ".local/share/uv/credentials", ".cabal/config", ".stack/config.yaml",
    ".bun/.npmrc", ".dotnet/NuGet.Config", ".sdkman/etc/config", ".julia/servers", ".opam/config.lock", ".deno/credentials",
    ".local/share/pnpm/rc",
};

/* A folder without what is hidden. Where there is a view it is covered; Landlock can only leave it out, and so names all else. */
static void add_folder(struct buf *out, const char *dir, const char *const *hidden, bool view)
{
    bool whole = true;
    struct dirent *de;
    const char *below;
    DIR *d;

    for (size_t i = 0; hidden[i] && whole; i++)
        whole = view || !path_beneath(dir, hidden[i], &below);
    if (whole) {
        profile_add(out, "ro", dir, "");
        return;
    }
    d = opendir(dir);
    while (d && (de = readdir(d))) {
        cleanup(freep) char *path = xasprintf("%s/%s", dir, de->d_name);
        bool shown = strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0;

        for (size_t i = 0; hidden[i] && shown; i++)
            shown = strcmp(hidden[i], path) != 0;
        if (shown)
            add_folder(out, path, hidden, view);
    }
    if (d)
        closedir(d);
}

/* A directory of the PATH that lies elsewhere; where it is the bin of something, all of that, unless that were the home. */
static void add_path(struct buf *out, const char *dir, const char *home, const char *root)
{
    static const char *const system[] = { "/usr", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store", "/run" };
    cleanup(freep) char *real = realpath(dir, NULL), *rc = NULL;
    const char *below;
    char *slash;

    if (!real || covered(real, system, ARRAY_SIZE(system), NULL) || covered(real, toolchains, ARRAY_SIZE(toolchains), home) ||
        path_beneath(real, home, &below) || path_beneath(real, root, &below) || path_beneath(root, real, &below))
        return;
    slash = strrchr(real, '/');
    if (slash > real && strcmp(slash, "/bin") == 0) {
        *slash = 0;
        if (path_beneath(real, home, &below) || path_beneath(real, root, &below) || !strchr(real + 1, '/'))
            *slash = '/';
    }
    profile_add(out, "ro", real, "");
    rc = xasprintf("%s/etc/npmrc", real);
    profile_add(out, "hide", rc, "");
}

static void add_toolchains(struct buf *out, const char *home, const char *root, bool view)
{
    cleanup(freep) char *path = xstrdup(getenv("PATH") ? getenv("PATH") : "");
    char *hidden[ARRAY_SIZE(credentials) + 1] = {0}, *save = NULL;
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
        char *file = xasprintf("%s/%s", home, credentials[i]);

        if (access(file, F_OK) == 0)
            hidden[n++] = file;
        else
            free(file);
    }
    for (size_t i = 0; i < ARRAY_SIZE(toolchains); i++) {
        cleanup(freep) char *dir = xasprintf("%s/%s", home, toolchains[i]);
        const char *below;

        if (access(dir, R_OK | X_OK) == 0 && !path_beneath(root, dir, &below))
            add_folder(out, dir, (const char *const *)hidden, view);
    }
    for (char *dir = strtok_r(path, ":", &save); dir; dir = strtok_r(NULL, ":", &save))
        if (*dir == '/')
            add_path(out, dir, home, root);
    for (size_t i = 0; i < n; i++) {
        profile_add(out, "hide", hidden[i], "");
        free(hidden[i]);
    }
    profile_add(out, "hide", "/usr/local/etc/npmrc", "");
    profile_add(out, "hide", "/usr/etc/npmrc", "");
}

/* Where layers lie: files/layer.c. */
static void add_layer(const struct boxing *b, const char *verb, const char *name, const char *root, struct buf *out)
{
    cleanup(freep) char *at = xasprintf(".rein/layers/%s", name), *git = xasprintf("rein-layers/%s", name);

    profile_add(out, verb, root, at);
    if (b->git_root)
        profile_add(out, verb, b->git_root, git);
}

static void add_base(struct boxing *b, const char *root)
{
    cleanup(freep) char *tmp = xasprintf("%s/tmp", b->scratch), *home = xasprintf("%s/home", b->scratch);
    cleanup(freep) char *run = xasprintf("%s/run", b->scratch);

    if (b->tier == TIER_LIVE)
        profile_add(&b->base, "uid", "", "");
    add_system(&b->base);
    profile_add(&b->base, "rw", run, BOX_RUN);
    profile_add(&b->base, "rw", tmp, "/tmp");
    profile_add(&b->base, "rw", tmp, "/var/tmp");       /* no link: a workspace may lie there */
    profile_add(&b->base, "rw", home, user_home());
    add_trusted(&b->base);                              /* they may lie in those */
    add_toolchains(&b->base, user_home(), root, b->tier == TIER_LIVE);
    profile_add(&b->base, "dev", "", "");
    profile_add(&b->base, "proc", "", "");
    profile_add(&b->base, b->read_only ? "ro" : "rw", root, "");
    if (b->git_root)
        profile_add(&b->base, b->read_only ? "ro" : "rw", b->git_root, "");
    if (b->plan)
        add_layer(b, "plan", b->plan, root, &b->base);
    number(&b->base, "file", b->limits.file);
    number(&b->base, "files", b->limits.files);
    number(&b->base, "memory", b->limits.memory);
    number(&b->base, "processes", b->limits.processes);
    number(&b->base, "disk", b->limits.disk);
}

int boxing_begin(struct boxing *b, struct err *e)
{
    static const char *const parts[] = { "home", "tmp", "run" };

    if (b->tier == TIER_LIVE) {
        b->own[0] = xasprintf("HOME=%s", user_home());
    } else {
        b->own[0] = xasprintf("HOME=%s/home", b->scratch);
        b->own[1] = xasprintf("TMPDIR=%s/tmp", b->scratch);
    }

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        cleanup(freep) char *path = xasprintf("%s/%s", b->scratch, parts[i]);
        int r = path_mkdirs(path);

        if (r < 0)
            return err_set(e, r, "%s cannot be made: %s", path, strerror(-r));
    }
    return 0;
}

void boxing_done(struct boxing *b)
{
    for (size_t i = 0; b->held && i < BOX_HELD; i++)
        close(b->held[i]);
    free(b->held);
    free(b->scratch);
    free(b->layer);
    free(b->plan);
    free(b->git_root);
    free(b->own[0]);
    free(b->own[1]);
    for (size_t i = 0; b->git && b->git[i]; i++)
        free(b->git[i]);
    free(b->git);
    buf_done(&b->base);
    guard_done(&b->guard);
}

/* What of the workspace was there, for a rein that comes after a crash. */
static char *guard_path(const struct boxing *b)
{
    return xasprintf("%s/guard", b->scratch);
}

static int guard_save(struct str list, const char *path)
{
    cleanup(freep) char *temp = xasprintf("%s.tmp", path);
    FILE *f = fopen(temp, "we");
    bool good = f && fwrite(list.p, 1, list.n, f) == list.n;

    if (f && fclose(f) != 0)
        good = false;
    if (!good || rename(temp, path) < 0) {
        int r = errno ? -errno : -EIO;

        unlink(temp);
        return r;
    }
    return 0;
}

static void guard_load(struct boxing *b)
{
    cleanup(freep) char *path = guard_path(b);
    cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    cleanup(buf_done) struct buf text = {0};
    ssize_t n;
    char *to;

    while (fd >= 0 && (to = buf_room(&text, 64 << 10)) && (n = read(fd, to, 64 << 10)) > 0)
        text.n += (size_t)n;
    b->guarded = guard_read(buf_str(&text), &b->guard);
}

int boxing_guard(struct boxing *b, struct str list, struct err *e)
{
    cleanup(freep) char *path = guard_path(b);
    struct guard now;
    bool same;
    int r;

    if (!guard_read(list, &now))
        return err_set(e, -EIO, "what of the workspace is to be protected could not be found out");
    same = b->guarded && guard_equal(&b->guard, &now);
    guard_done(&b->guard);
    b->guard = now;
    b->guarded = true;
    r = same ? 0 : guard_save(list, path);
    return r < 0 ? err_set(e, r, "%s cannot be written: %s", path, strerror(-r)) : 0;
}

bool boxing_guarded(struct boxing *b, struct buf *ret)
{
    if (!b->guarded)
        guard_load(b);
    if (b->guarded)
        guard_write(&b->guard, ret);
    return b->guarded;
}

bool boxing_hold_back(const struct boxing *b, int root, const char *path, const char *key, size_t number)
{
    cleanup(freep) char *held = xasprintf("%s/held-%s", b->scratch, key);
    cleanup(freep) char *to = xasprintf("%s/%zu-%s", held, number, strrchr(path, '/') ? strrchr(path, '/') + 1 : path);

    mkdir(held, 0700);
    return renameat(root, path, AT_FDCWD, to) == 0;
}

static void keep_guarded(const struct guard *g, const char *root, bool masks, bool layer, struct buf *out)
{
    for (size_t i = 0; i < g->n; i++) {
        cleanup(freep) char *path = xasprintf("%s%s%s", root, *g->v[i].path ? "/" : "", g->v[i].path);

        if (layer && strcmp(g->v[i].path, ".rein") == 0)
            continue;                   /* over a layer it is not there */
        if (g->v[i].kind == KIND_SECRET)
            profile_add(out, "hide", path, "");
        else if (masks && g->v[i].kind == KIND_GIT && *g->v[i].path)
            profile_add(out, "pin", path, "");
        else if (masks && g->v[i].kind != KIND_LINK && g->v[i].kind != KIND_GIT)
            profile_add(out, "keep", path, "");
    }
}

/* Of git's folder outside: no layers, and where there is none, what makes programs outside do something stays as it is. */
static void keep_git(const struct boxing *b, struct buf *out)
{
    static const char *const kept[] = { "config", "config.worktree", "hooks", "modules" };
    cleanup(freep) char *layers = xasprintf("%s/rein-layers", b->git_root), *worktrees = xasprintf("%s/worktrees", b->git_root);
    bool masks = !b->read_only && (b->masks || (!b->layer && !b->plan));
    DIR *d = masks ? opendir(worktrees) : NULL;
    struct dirent *de;

    profile_add(out, "hide", layers, "");
    for (size_t i = 0; i < ARRAY_SIZE(kept) && masks; i++) {
        cleanup(freep) char *path = xasprintf("%s/%s", b->git_root, kept[i]);

        if (access(path, F_OK) == 0)
            profile_add(out, "keep", path, "");
    }
    while (d && (de = readdir(d))) {
        cleanup(freep) char *path = xasprintf("%s/%s/config.worktree", worktrees, de->d_name);

        if (access(path, F_OK) == 0)
            profile_add(out, "keep", path, "");
    }
    if (d)
        closedir(d);
}

void boxing_profile(struct boxing *b, const char *root, struct buf *out)
{
    if (b->base.n == 0)
        add_base(b, root);
    buf_add_str(out, buf_str(&b->base));
    profile_add(out, "then", "", "");
    if (b->layer) {
        add_layer(b, "layer", b->layer, root, out);
        number(out, "copies", COPIES_MAX);
    }
    if (b->tier == TIER_LIVE) {
        cleanup(freep) char *own = xasprintf("%s/.rein", root), *layers = xasprintf("%s/layers", own);

        profile_add(out, "hide", b->layer || b->plan ? own : layers, "");
        if (b->git_root)
            keep_git(b, out);
    }
    if (b->tier == TIER_LIVE && !b->read_only)
        keep_guarded(&b->guard, root, b->masks || (!b->layer && !b->plan), b->layer || b->plan, out);
    profile_add(out, "cd", root, "");
}

int boxing_write(int fd, const struct buf *profile)
{
    errno = EIO;
    return write(fd, profile->p, profile->n) == (ssize_t)profile->n ? 0 : -errno;
}

int boxing_file(const struct buf *profile)
{
    cleanup(closep) int fd = proc_lift(memfd_create("profile", MFD_CLOEXEC));
    int r = fd < 0 ? -errno : profile->n ? boxing_write(fd, profile) : 0;

    return r < 0 ? r : TAKE_FD(fd);
}

char *boxing_shell(const struct boxing *b, const char *key, char **ret_inside)
{
    char *outside = xasprintf("%s/run/%s", b->scratch, key);

    *ret_inside = b->tier == TIER_LIVE ? xasprintf(BOX_RUN "/%s", key) : xstrdup(outside);
    return outside;
}

/* Opens the namespaces of a process. */
static int open_held(long pid, int held[BOX_HELD])
{
    static const char *const names[BOX_HELD] = { "user", "net", "ipc", "uts", "mnt" };

    for (size_t i = 0; i < BOX_HELD; i++) {
        cleanup(freep) char *path = xasprintf("/proc/%ld/ns/%s", pid, names[i]);

        held[i] = proc_lift(open(path, O_RDONLY | O_CLOEXEC));
        if (held[i] < 0) {
            int r = -errno;

            while (i-- > 0)
                close(held[i]);
            return r;
        }
    }
    return 0;
}

/* What a holder says, and the socket that comes with it. */
static ssize_t hear_holder(int from, char *text, size_t size, int *ret_fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec io = { text, size - 1 };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
    ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    return n;
}

CO int boxing_hold(struct boxing *b, const char *root, struct err *e)
{
    cleanup(closep) int fd = -1, theirs = -1, ours = -1, at = open("/", O_PATH | O_CLOEXEC);
    cleanup(freep) char *box = NULL;
    cleanup(proc_freep) struct proc *proc = NULL;
    struct proc_fd fds[2];
    const char *argv[] = { "rein-box", "--hold", "3", "--profile", "4", NULL, NULL, NULL };
    char text[512] = "", *what;
    int r, pair[2], held[BOX_HELD], listener = -1;
    long error = 0, pid = 0;

    if (b->held || b->tier != TIER_LIVE)
        return 0;
    if (b->base.n == 0)
        add_base(b, root);
    r = env_box_path(&box, e);
    if (r < 0)
        return r;
    fd = boxing_file(&b->base);
    if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, -errno, "the box cannot be described: %s", strerror(errno));
    ours = pair[0];
    theirs = pair[1];
    fds[0] = (struct proc_fd){ theirs, 3 };
    fds[1] = (struct proc_fd){ fd, 4 };
    if (b->proxied) {
        argv[5] = "--proxy";
        argv[6] = PROXY_PORT;
    }
    r = proc_spawn(&(struct proc_spec){ box, (char *const *)argv, (char *const[]){ NULL }, at, fds, 2 }, &proc, e);
    if (r < 0)
        return r;
    close(theirs);
    theirs = -1;
    r = fd_readable(ours, "a box", HOLD_MS);
    if (r < 0)
        return r == -ECANCELED ? r : err_set(e, r, "the box could not be built: its supervisor does not answer");
    if (hear_holder(ours, text, sizeof(text), &listener) <= 0 || sscanf(text, "%ld %ld", &error, &pid) != 2)
        return err_set(e, -EIO, "the box could not be built: its supervisor ended");
    what = strchr(text, ' ');
    what = what ? strchr(what + 1, ' ') : NULL;
    if (error)
        return err_set(e, -ENOTSUP, "the box could not be built (%s: %s), so the command was not started", what ? what + 1 : "",
                       strerror((int)error));
    if (listener >= 0)
        b->listening(b->listening_arg, listener);
    r = open_held(pid, held);
    if (r < 0)
        return err_set(e, r, "the box's namespaces cannot be opened: %s", strerror(-r));
    b->held = xmalloc(sizeof(held));
    memcpy(b->held, held, sizeof(held));
    return 0;
}

/* Git is to ask for http:// where rein has a key: settings by way of variables, which no file is needed for. */
static void find_git(struct boxing *b)
{
    size_t n = 0, k = 0;

    if (b->git || !b->proxied)
        return;
    b->git = xcalloc(2 * b->list->n + 2, sizeof(*b->git));
    for (size_t i = 0; i < b->list->n; i++) {
        const struct egress_host *h = &b->list->v[i];
        char port[8] = "";

        if (!h->key_env)
            continue;
        if (h->port)
            snprintf(port, sizeof(port), ":%d", h->port);
        b->git[k++] = xasprintf("GIT_CONFIG_KEY_%zu=url.http://%s%s/.insteadOf", n, h->name, port);
        b->git[k++] = xasprintf("GIT_CONFIG_VALUE_%zu=https://%s%s/", n++, h->name, port);
    }
    if (n)
        b->git[k] = xasprintf("GIT_CONFIG_COUNT=%zu", n);
}

char **boxing_environment(struct boxing *b, char **user, const char *const *set, size_t nset)
{
    static const char *const known[] = {
        "PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "COLUMNS", "LINES", "CC", "CXX", "CPP", "LD", "AR", "AS",
        "NM", "RANLIB", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "CMAKE_GENERATOR", "CMAKE_PREFIX_PATH",
        "NINJA_STATUS", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH",
        "MANPATH", "JAVA_HOME", "GOPATH", "GOROOT", "GOFLAGS", "GOPROXY", "GONOSUMDB", "CARGO_HOME", "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "NVM_DIR", "NODE_PATH", "NODE_ENV", "PNPM_HOME", "VOLTA_HOME", "BUN_INSTALL",
        "DENO_INSTALL", "PYENV_ROOT", "PYENV_VERSION", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH",
        "PYTHONHASHSEED", "GEM_HOME", "GEM_PATH", "RBENV_ROOT", "SDKMAN_DIR", "ASDF_DIR", "PERL5LIB", "LUA_PATH", "LUA_CPATH",
        "SOURCE_DATE_EPOCH", "CI", "DEBUG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "MSAN_OPTIONS",
        "MALLOC_ARENA_MAX", "NO_COLOR", "FORCE_COLOR",
    };
#define PROXY_URL "http://127.0.0.1:" PROXY_PORT
    static const char *const way_out[] = {
        "HTTP_PROXY=" PROXY_URL, "HTTPS_PROXY=" PROXY_URL, "http_proxy=" PROXY_URL, "https_proxy=" PROXY_URL,
        "NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1", "NODE_USE_ENV_PROXY=1",
    };
#undef PROXY_URL
    size_t n = 0, k = 0, ngit = 0;
    char **env;

    while (user[n])
        n++;
    find_git(b);
    while (b->git && b->git[ngit])
        ngit++;
    env = xcalloc(n + nset + ARRAY_SIZE(b->own) + ARRAY_SIZE(way_out) + ngit + 1, sizeof(*env));
    for (size_t i = 0; i < n; i++) {
        struct str name = { user[i], strcspn(user[i], "=") };
        bool keep = name.n > 3 && memcmp(name.p, "LC_", 3) == 0;

        for (size_t j = 0; j < ARRAY_SIZE(known) && !keep; j++)
            keep = str_is(name, known[j]);
        for (size_t j = 0; j < ARRAY_SIZE(trusted) && !keep; j++)
            keep = str_is(name, trusted[j]);
        for (size_t j = 0; j < nset && keep; j++)
            keep = strncmp(set[j], user[i], name.n + 1) != 0;
        if (keep)
            env[k++] = user[i];
    }
    for (size_t i = 0; i < nset; i++)
        env[k++] = (char *)set[i];
    for (size_t i = 0; i < ARRAY_SIZE(b->own) && b->own[i]; i++)
        env[k++] = b->own[i];
    for (size_t i = 0; i < ARRAY_SIZE(way_out) && b->proxied; i++)
        env[k++] = (char *)way_out[i];
    for (size_t i = 0; i < ngit; i++)
        env[k++] = b->git[i];
    return env;
}
