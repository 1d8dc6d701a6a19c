/* cmd_doctor.c - what this machine offers rein, what is missing, and what to do about it. */
#include "base/charset.h"
#include "cmd/service.h"
#include "env/local.h"
#include "rt/http.h"
#include "rt/proc.h"

#include <fcntl.h>
#include <stdarg.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DOCTOR_ANSWER_MS 10000

enum mark { GOOD, NOTE, BAD };

struct report {
    bool json;
    int bad;
};

static void line(struct report *r, enum mark mark, const char *what, const char *fmt, ...) printf_fmt(4, 5);

static void line(struct report *r, enum mark mark, const char *what, const char *fmt, ...)
{
    static const char *const word[] = { "ok", "note", "BAD" }, *const json_word[] = { "ok", "note", "bad" };
    cleanup(freep) char *text = NULL;
    cleanup(buf_done) struct buf out = {0};
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    r->bad += mark == BAD;
    if (!r->json) {
        printf("%-5s %-10s %s\n", word[mark], what, text ? text : "");
        return;
    }
    buf_addc(&out, '{');
    js_add_text(&out, "what", what);
    js_add_text(&out, "state", json_word[mark]);
    js_add_text(&out, "text", text);
    buf_addc(&out, '}');
    puts(out.p);
}

static void check_kernel(struct report *rep)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC };
    struct utsname u;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)), pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

    uname(&u);
    line(rep, GOOD, "kernel", "%s %s on %s", u.sysname, u.release, u.machine);
    line(rep, fd < 0 ? BAD : GOOD, "openat2", fd < 0 ? "missing: files cannot be opened safely; Linux 5.6 or later is needed"
                                                     : "files are opened beneath the workspace by the kernel");
    line(rep, pidfd < 0 ? BAD : GOOD, "pidfd", pidfd < 0 ? "missing: commands cannot be watched; Linux 5.3 or later is needed"
                                                         : "commands are watched without signals");
    if (fd >= 0)
        close(fd);
    if (pidfd >= 0)
        close(pidfd);
    if (abi > 0)
        line(rep, GOOD, "landlock", "ABI %ld", abi);
    else
        line(rep, NOTE, "landlock", "not available");
}

static void check_fibers(struct report *rep)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    long maps = 0;

    if (f) {
        if (fscanf(f, "%ld", &maps) != 1)
            maps = 0;
        fclose(f);
    }
    line(rep, maps && maps < 30000 ? NOTE : GOOD, "fibers", "at most about %ld at once (vm.max_map_count)", maps / 2);
}

static bool in_path(const char *name)
{
    cleanup(freep) char *path = xstrdup(getenv("PATH") ? getenv("PATH") : "");
    char *save = NULL;

    for (char *folder = strtok_r(path, ":", &save); folder; folder = strtok_r(NULL, ":", &save)) {
        cleanup(freep) char *file = xasprintf("%s/%s", folder, name);

        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

/* What the tools make use of where it is there. */
static void check_tools(struct report *rep)
{
    cleanup(freep) char *html = NULL;
    bool guesses = charset_can_guess(), ctags = in_path("ctags");
    struct err e = {0};
    int r = proc_beside("rein-html", &html, &e);
    const char *search = getenv("REIN_SEARCH");

    line(rep, r < 0 ? NOTE : GOOD, "fetch", "%s", r < 0 ? e.msg : html);
    line(rep, search ? GOOD : NOTE, "search", "%s",
         search ? search : "no engine is set up: REIN_SEARCH=searxng=URL, or brave with BRAVE_API_KEY");
    line(rep, guesses ? GOOD : NOTE, "encodings", "%s",
         guesses ? "guessed by uchardet" : "uchardet (libuchardet0) is missing: old encodings are told less well");
    line(rep, ctags ? GOOD : NOTE, "outline", "%s",
         ctags ? "by ctags, if it is Universal Ctags" : "ctags is missing: outlines come from the look of lines");
}

/* Whether the model can be asked: which hop on the way to it fails. */
static CO void check_service(struct agent *a, struct report *rep)
{
    cleanup(asked_done) struct asked asked = {0};
    cleanup(buf_done) struct buf text = {0};
    struct err e = {0};
    const char *key_env;
    bool good;

    if (!a->in->opt.model) {
        line(rep, NOTE, "model", "none is named: rein doctor --model PROVIDER/NAME says whether it can be reached");
        return;
    }
    if (agent_model(a, &e) < 0) {
        line(rep, BAD, "model", "%s", e.msg);
        return;
    }
    asked.provider = a->provider;
    asked.model = a->model;
    if (!a->provider->list) {
        line(rep, GOOD, "model", "%s needs no network", a->model_id);
        return;
    }
    key_env = a->in->opt.key_env ? a->in->opt.key_env : a->model.service->key_env;
    if (!asked.model.timers.idle)
        asked.model.timers.idle = DOCTOR_ANSWER_MS;
    service_ask(&asked);
    good = service_tell(&asked, key_env, &text);
    line(rep, good ? GOOD : BAD, "model", "%s", text.p);
    if (good && asked.listing.names && !service_lists(&asked, a->model.name))
        line(rep, NOTE, "model", "%s is not among those that the service lists", a->model.name);
}

static CO int doctor_main(struct agent *a)
{
    struct report rep = { .json = a->in->opt.json };
    cleanup(freep) char *box = NULL, *cwd = NULL, *why = NULL;
    enum tier tier;
    struct harness *h = NULL;
    const char *version = NULL;
    struct store_sizes z;
    struct err e = {0};
    int r;

    line(&rep, GOOD, "rein", "%s, store format %d, event format %d", REIN_VERSION, STORE_FORMAT, EVENT_FORMAT);
    check_kernel(&rep);
    check_fibers(&rep);
    tier = tier_find(a->home, true, &why);
    line(&rep, tier == TIER_LIVE ? GOOD : NOTE, "tier", "%s%s%s%s", tier_name(tier), why ? ": " : "", why ? why : "",
         tier == TIER_LIVE ? ": namespaces, a view of their own for commands, Landlock, system call filter; mode auto can be kept"
                           : "; mode auto ends with status 7, mode ask asks before anything changes");
    r = env_box_path(&box, &e);
    line(&rep, r < 0 ? BAD : GOOD, "supervisor", "%s", r < 0 ? e.msg : box);
    check_tools(&rep);
    r = agent_store(a, STORE_WRITE, &e);
    if (r == 0)
        r = store_measure(a->store, &z, &e);
    if (r < 0)
        line(&rep, BAD, "store", "%s", e.msg);
    else
        line(&rep, GOOD, "store", "%s: %lld sessions, %lld events, %.1f MB and %.1f MB of log file; rein gc tidies up", a->home,
             (long long)z.sessions, (long long)z.events, (double)z.database / 1e6, (double)z.log / 1e6);
    cwd = getcwd(NULL, 0);
    r = env_local(cwd ? cwd : "/", a->home, &a->env, &e);
    line(&rep, r < 0 ? NOTE : GOOD, "workspace", "%s", r < 0 ? e.msg : cwd);
    r = http_library(&version, &e);
    line(&rep, r < 0 ? BAD : GOOD, "network", "%s", r < 0 ? e.msg : version);
    check_service(a, &rep);
    r = harness_load(a->in->opt.harness ? a->in->opt.harness : "coder", NULL, &h, &e);
    if (r < 0)
        line(&rep, BAD, "harness", "%s", e.msg);
    else
        line(&rep, GOOD, "harness", "%s, version %lld, %zu tools", h->name, (long long)h->version, h->ntools);
    harness_free(h);
    return rep.bad ? STATUS_PROTECTION : STATUS_DONE;
}

int cmd_doctor(struct invocation *in)
{
    return agent_main(in, doctor_main);
}
