#include "core/rules.h"

#include "base/path.h"
#include "base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

enum positional { NOTHING, TEXT, PATHS, FIRST_TEXT, PLUS_TEXT };
enum { NUMBER = 1, LOOSE = 2, GIT_TEXT = 4, GETS_ONLY = 8, ASKED = 16 };

struct row {
    const char *words, *shorts, *with_text, *with_path, *longs;
    enum positional positional;
    unsigned max, flags;
};

static const struct row rows[] = {
#define RULE(words, shorts, with_text, with_path, longs, positional, max, flags) \
    { words, shorts, with_text, with_path, longs, positional, max, flags },
#include "core/rules.def"
#undef RULE
};

/* What runs whatever it is told to, and so is nothing that a prefix could allow. A name counts without its version: python3.11. */
static const char *const runners[] = {
    "sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "ash", "busybox", "python", "python2", "python3", "pypy",
    "pypy3", "perl", "ruby", "node", "nodejs", "deno", "bun", "lua", "luajit", "php", "tclsh", "wish", "expect", "awk", "gawk",
    "mawk", "nawk", "sed", "gsed", "ed", "ex", "vi", "vim", "nvim", "emacs", "nano", "env", "xargs", "parallel", "timeout", "nice",
    "ionice", "chrt", "taskset", "nohup", "setsid", "stdbuf", "unbuffer", "time", "watch", "script", "ssh", "scp", "sftp", "rsync",
    "sudo", "su", "doas", "pkexec", "runuser", "chroot", "unshare", "nsenter", "setpriv", "capsh", "bwrap", "firejail", "docker",
    "podman", "systemd-run", "at", "batch", "crontab", "exec", "eval", "source", ".", "command", "builtin", "trap", "export",
    "declare", "typeset", "alias", "set", "unset", "local", "readonly", "hash", "enable", "shopt", "bind", "complete", "gdb",
    "lldb", "strace", "ltrace", "valgrind", "perf", "tee", "dd", "tar", "cpio", "zip", "unzip", "7z", "ar", "curl", "wget", "nc",
    "ncat", "socat", "telnet", "ftp", "make", "gmake", "ninja", "cmake", "meson", "gcc", "g++", "cc", "c++", "clang", "clang++",
    "ld", "as", "m4", "install", "cp", "mv", "ln", "rm", "rmdir", "shred", "chmod", "chown", "chgrp", "split", "csplit", "truncate",
    "npx", "pnpx", "uvx", "pipx", "man", "less", "more", "most", "pager", "go", "java", "jshell", "dc", "bc", "sqlite3", "psql",
    "mysql", "git-shell", "ld.so", "ld-linux-x86-64.so.2", "rein",
};

static void say(struct rule_command *c, enum rule_verdict verdict, const char *fmt, ...) printf_fmt(3, 4);

static void say(struct rule_command *c, enum rule_verdict verdict, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, ap);
    va_end(ap);
    c->verdict = verdict;
}

/* Reading. */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_./:@%+,-=^", c);
}

/* Text between quotes may hold anything that can be seen. */
static bool can_be_seen(struct str s)
{
    cleanup(buf_done) struct buf shown = {0};

    if (!utf8_valid(s) || memchr(s.p, '\n', s.n) || memchr(s.p, '\t', s.n) || memchr(s.p, '\r', s.n))
        return false;
    utf8_add_printable(&shown, s);
    return shown.n == s.n && memcmp(shown.p, s.p, s.n) == 0;
}

/* One word from `at` on; it is behind it afterwards. NULL: it is none that is understood, and *ret_why says why. */
static char *read_word(struct str line, size_t *at, const char **ret_why)
{
    cleanup(buf_done) struct buf word = {0};
    bool any = false;

    while (*at < line.n) {
        char c = line.p[*at];

        if (c == '\'' || c == '"') {
            const char *end = memchr(line.p + *at + 1, c, line.n - *at - 1);
            struct str inside = { line.p + *at + 1, end ? (size_t)(end - line.p) - *at - 1 : 0 };

            *ret_why = "a quotation has no end, or holds what cannot be seen";
            if (!end || !can_be_seen(inside))
                return NULL;
            *ret_why = "it has an expansion";
            for (size_t i = 0; c == '"' && i < inside.n; i++)
                if (strchr("$`\\!", inside.p[i]))
                    return NULL;
            buf_add_str(&word, inside);
            *at += inside.n + 2;
        } else if (is_plain(c)) {
            buf_addc(&word, c);
            (*at)++;
        } else {
            break;
        }
        any = true;
    }
    *ret_why = "it is more than plain words joined by && || ; and |";
    if (!any || (*at < line.n && !strchr(" ;|&", line.p[*at])))
        return NULL;
    return buf_take(&word);
}

static void add_word(struct rule_command *c, char *word)
{
    if (c->argc + 1 >= c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        c->argv = xrealloc(c->argv, c->cap * sizeof(*c->argv));
    }
    c->argv[c->argc++] = word;
    c->argv[c->argc] = NULL;
}

/* The commands of a line. False: it is not understood. */
static bool read_line(struct str line, struct rule_line *ret, const char **ret_why)
{
    size_t at = 0;
    bool more = true;                   /* a command has to follow */

    *ret_why = "it is too long to be read through";
    if (line.n > RULES_LINE_MAX)
        return false;
    while (true) {
        struct rule_command *c = &ret->v[ret->n];

        while (at < line.n && line.p[at] == ' ')
            at++;
        if (at == line.n)
            break;
        *ret_why = "it has too many commands to be read through";
        if (ret->n == RULES_COMMANDS_MAX)
            return false;
        while (at < line.n && !strchr(";|&", line.p[at])) {
            char *word = read_word(line, &at, ret_why);

            if (!word)
                return false;
            add_word(c, word);
            while (at < line.n && line.p[at] == ' ')
                at++;
        }
        *ret_why = "it is more than plain words joined by && || ; and |";
        if (c->argc == 0)
            return false;
        ret->n++;
        more = false;
        if (at == line.n)
            break;
        if (line.p[at] == ';') {
            at++;                       /* nothing need follow */
        } else {
            size_t n = at + 1 < line.n && line.p[at + 1] == line.p[at] ? 2 : 1;

            if (line.p[at] == '&' && n == 1)
                return false;
            c->join = n == 1 ? '|' : line.p[at] == '&' ? 'a' : 'o';
            at += n;
            more = true;
        }
        if (at < line.n && strchr(";|&", line.p[at]))
            return false;
    }
    *ret_why = "a command is missing";
    return ret->n > 0 && !more;
}

/* Judging. */

#define PLACES_MAX 8

/* The workspace, and the directories in which a command may find itself by then: the first, and those that a cd may have led to. */
struct place {
    struct env *env;
    const char *root;
    char *dirs[PLACES_MAX];
    size_t n;
};

/* Whether a path leads to something of the workspace, links followed; what does not exist yet leads where its folder does. */
static bool is_inside_from(const char *root, const char *dir, const char *path)
{
    cleanup(freep) char *full = path_resolve(dir, str_of(path)), *real = NULL;
    const char *below;
    char *slash;

    if (!path_beneath(root, full, &below))
        return false;
    while (!(real = realpath(full, NULL))) {
        if (errno != ENOENT && errno != ENOTDIR)
            return false;
        slash = strrchr(full, '/');
        if (slash == full)
            return false;
        *slash = 0;
    }
    return path_beneath(root, real, &below);
}

/* Wherever the command may be: a cd may have failed. */
static bool is_inside(const struct place *p, const char *path)
{
    for (size_t i = 0; i < p->n; i++)
        if (!is_inside_from(p->root, p->dirs[i], path))
            return false;
    return true;
}

/* Whether a list of words with blanks between has this one. */
static bool lists(const char *list, const char *word, size_t n)
{
    while (*list) {
        size_t len = strcspn(list, " ");

        if (len == n && memcmp(list, word, n) == 0)
            return true;
        list += len + (list[len] == ' ');
    }
    return false;
}

static bool is_number(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s);
}

/* A format of git's that has signatures checked runs a program of the configuration's, and a name may stand for such a format. */
static bool is_quiet_format(const char *option)
{
    static const char *const known[] = { "oneline", "short", "medium", "full", "fuller", "reference", "raw" };
    const char *value = strchr(option, '=');

    if (!value || (strncmp(option, "format", 6) != 0 && strncmp(option, "pretty", 6) != 0))
        return true;
    if (strstr(++value, "%G") || strstr(value, "%(trailers"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(value, known[i]) == 0)
            return true;
    return strchr(value, '%') != NULL;
}

static bool long_option(const struct row *row, const char *option)
{
    size_t n = strcspn(option, "=");

    return lists(row->longs, option, option[n] ? n + 1 : n) && (!(row->flags & GIT_TEXT) || is_quiet_format(option));
}

/* A word of short options. `next` is what follows. 0: not harmless, else how many words it takes. */
static size_t short_options(const struct row *row, const char *word, const char *next, const struct place *place)
{
    for (const char *p = word + 1; *p; p++) {
        const char *value = p[1] ? p + 1 : next;

        if (strchr(row->shorts, *p))
            continue;
        if (!strchr(row->with_text, *p) && !strchr(row->with_path, *p))
            return 0;
        if (!value || (strchr(row->with_path, *p) && !is_inside(place, value)))
            return 0;
        return p[1] ? 1 : 2;
    }
    return 1;
}

static bool positional(const struct row *row, const char *word, size_t number, const struct place *place)
{
    switch (row->positional) {
    case NOTHING:
        return false;
    case TEXT:
        return true;
    case PLUS_TEXT:
        return word[0] == '+';
    case FIRST_TEXT:
        return number == 1 || is_inside(place, word);
    case PATHS:
        return strcmp(word, "-") == 0 || is_inside(place, word);
    }
    return false;
}

/* Judges the arguments behind the row's own words. */
static bool is_harmless(const struct row *row, struct rule_command *c, size_t first, const struct place *place)
{
    bool only_words = false, gets = false, pattern = false;
    size_t number = 0;

    for (size_t i = first; i < c->argc;) {
        const char *word = c->argv[i];
        size_t n = 1;

        if (only_words || word[0] != '-' || word[1] == 0 || ((row->flags & LOOSE) && strncmp(word, "-v", 2) != 0)) {
            /* With -e the pattern is that, and the first word a path. */
            if (++number > row->max || !positional(row, word, pattern ? number + 1 : number, place)) {
                say(c, RULE_ASK, "%s is not known to be harmless with '%.60s'", row->words, word);
                return false;
            }
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (word[1] == '-') {
            gets = gets || lists("get get-all list", word + 2, strlen(word + 2));
            n = long_option(row, word + 2);
            pattern = pattern || strncmp(word, "--regexp=", 9) == 0 || strcmp(word, "--files") == 0;
        } else if ((row->flags & NUMBER) && is_number(word + 1)) {
            n = 1;
        } else {
            gets = gets || strcmp(word, "-l") == 0;
            pattern = pattern || (row->positional == FIRST_TEXT && strpbrk(word, "ef"));
            n = short_options(row, word, c->argv[i + 1], place);
        }
        if (n == 0) {
            say(c, RULE_ASK, "%s is not known to be harmless with '%.60s'", row->words, word);
            return false;
        }
        i += n;
    }
    if ((row->flags & GETS_ONLY) && !gets) {
        say(c, RULE_ASK, "%s may change something", row->words);
        return false;
    }
    return true;
}

/* find's tests and what it prints; what it may run, delete or write is not among them. */
static bool find_is_harmless(struct rule_command *c, const struct place *place)
{
    static const char tests[] = "-name -iname -path -ipath -wholename -regex -iregex -regextype -type -maxdepth -mindepth -size "
                                "-mtime -mmin -ctime -cmin -atime -amin -newer -anewer -cnewer -perm -user -group -links "
                                "-samefile -printf -inum -uid -gid -fstype -xtype";
    static const char alone[] = "-print -print0 -prune -empty -readable -writable -executable -depth -xdev -mount -true -false "
                                "-not ! -a -and -o -or -ls -quit -nouser -nogroup -daystart -noleaf ( )";
    bool paths = true;

    for (size_t i = 1; i < c->argc; i++) {
        const char *word = c->argv[i];

        if (paths && word[0] != '-' && strcmp(word, "!") != 0 && strcmp(word, "(") != 0) {
            if (!is_inside(place, word)) {
                say(c, RULE_ASK, "find in '%.60s', which is not in the workspace", word);
                return false;
            }
            continue;
        }
        paths = false;
        if (lists(alone, word, strlen(word)))
            continue;
        if (!lists(tests, word, strlen(word)) || !c->argv[i + 1] ||
            ((strstr(word, "newer") || strcmp(word, "-samefile") == 0) && !is_inside(place, c->argv[i + 1]))) {
            say(c, RULE_ASK, "find is not known to be harmless with '%.60s'", word);
            return false;
        }
        i++;
    }
    return true;
}

static bool begins_with(const struct rule_command *c, const char *words, size_t *ret_n)
{
    size_t n = 0;

    while (*words) {
        size_t len = strcspn(words, " ");

        if (n >= c->argc || strlen(c->argv[n]) != len || memcmp(c->argv[n], words, len) != 0)
            return false;
        n++;
        words += len;
        words += strspn(words, " ");
    }
    *ret_n = n;
    return n > 0;
}

/* python3.11 is python3, and /usr/bin/env is env. */
static bool is_runner(const char *name)
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    size_t n = strlen(base);

    for (size_t i = 0; i < ARRAY_SIZE(runners); i++) {
        size_t len = strlen(runners[i]);

        if (n >= len && strncasecmp(base, runners[i], len) == 0 && strspn(base + len, "0123456789.-") == n - len)
            return true;
    }
    return false;
}

/* Asks for what programs call themselves. */
static bool asks_version(const struct rule_command *c)
{
    static const char *const tools[] = {
        "cc", "gcc", "g++", "clang", "clang++", "make", "cmake", "ninja", "meson", "git", "node", "npm", "npx", "yarn", "pnpm",
        "python", "python3", "pip", "pip3", "ruby", "perl", "php", "java", "javac", "mvn", "gradle", "go", "rustc", "cargo",
        "rustup", "docker", "kubectl", "gdb", "valgrind", "rg", "fd", "curl", "wget", "tar", "bash", "zsh", "psql", "sqlite3",
        "terraform", "helm", "tsc", "eslint", "prettier", "black", "ruff", "mypy", "pytest", "uv", "poetry", "deno", "bun", "swift",
        "ghc", "stack", "elixir", "erl", "lua", "R", "julia", "dotnet",
    };

    if (c->argc != 2 || (strcmp(c->argv[1], "--version") != 0 &&
                         !(strcmp(c->argv[1], "version") == 0 && (strcmp(c->argv[0], "go") == 0 || strcmp(c->argv[0],
                             "terraform") == 0))))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(tools); i++)
        if (strcmp(c->argv[0], tools[i]) == 0)
            return true;
    return false;
}

/* What ends a machine is not worth a question. */
static bool is_ruin(const struct rule_command *c)
{
    static const char *const commands[] = { "mkfs", "shutdown", "reboot", "halt", "poweroff", "init", "telinit", "wipefs",
                                            "blkdiscard", "fdisk", "parted" };
    static const char *const places[] = { "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/root", "/sbin", "/usr",
                                          "/var", "/*" };
    const char *base = strrchr(c->argv[0], '/') ? strrchr(c->argv[0], '/') + 1 : c->argv[0];
    bool removes = strcmp(base, "rm") == 0 || strcmp(base, "chmod") == 0 || strcmp(base, "chown") == 0, recursive = false;

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strncmp(base, commands[i], strlen(commands[i])) == 0 && (base[strlen(commands[i])] == 0 ||
                                                                     base[strlen(commands[i])] == '.'))
            return true;
    for (size_t i = 1; i < c->argc && removes; i++)
        recursive = recursive || (c->argv[i][0] == '-' && (strpbrk(c->argv[i], "rR")));
    for (size_t i = 1; i < c->argc; i++) {
        cleanup(freep) char *path = c->argv[i][0] == '/' ? path_resolve("/", str_of(c->argv[i])) : NULL;

        if (strcmp(base, "dd") == 0 && strncmp(c->argv[i], "of=/dev/", 8) == 0 && strcmp(c->argv[i], "of=/dev/null") != 0)
            return true;
        for (size_t k = 0; k < ARRAY_SIZE(places) && recursive && path; k++)
            if (strcmp(path, places[k]) == 0)
                return true;
    }
    return false;
}

/* The row with the most words that the command begins with. */
static const struct row *row_of(const struct rule_command *c, size_t *ret_n)
{
    const struct row *best = NULL;
    size_t n;

    *ret_n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (begins_with(c, rows[i].words, &n) && n > *ret_n) {
            best = &rows[i];
            *ret_n = n;
        }
    return best;
}

const char *rules_row(const struct rule_command *c)
{
    size_t n;
    const struct row *row = row_of(c, &n);

    return row ? row->words : NULL;
}

static const char *allowed_by(const struct rule_command *c, const char *const *allow, size_t nallow, size_t *ret_n)
{
    for (size_t i = 0; i < nallow; i++)
        if (begins_with(c, allow[i], ret_n))
            return allow[i];
    return NULL;
}

/* Git does what its words say only where the repository does not make it do more. */
static CO void judge_repository(struct rule_command *c, const struct place *place, bool changes)
{
    char why[RULES_GIT_WHY];

    for (size_t i = 0; i < place->n && c->verdict == RULE_ALLOW; i++)
        if (!rules_git_quiet(place->env, place->root, place->dirs[i], changes, why))
            say(c, RULE_ASK, "%s", why);
}

static CO void judge(struct rule_command *c, const struct place *place, const char *const *allow, size_t nallow)
{
    size_t n = 0, said = 0;
    const char *prefix = allowed_by(c, allow, nallow, &said);
    const struct row *row = row_of(c, &n);

    if (is_ruin(c)) {
        say(c, RULE_DENY, "%.60s would end more than this workspace", c->argv[0]);
    } else if (strchr(c->argv[0], '=') || strchr(c->argv[0], '%') || strchr(c->argv[0], '^')) {
        say(c, RULE_ASK, "'%.60s' sets a variable, or is no command", c->argv[0]);
    } else if (strcmp(c->argv[0], "find") == 0) {
        if (find_is_harmless(c, place))
            say(c, RULE_ALLOW, "find only looks");
    } else if (row && (row->flags & ASKED) && !prefix) {
        say(c, RULE_ASK, "%s changes something", row->words);
    } else if (row) {
        if (is_harmless(row, c, n, place))
            say(c, RULE_ALLOW, row->flags & ASKED ? "%s was allowed by a person" : "%s only looks", row->words);
    } else if (asks_version(c)) {
        say(c, RULE_ALLOW, "it says its version");
    } else if (is_runner(c->argv[0])) {
        say(c, RULE_ASK, "%.60s can be made to run or write anything", c->argv[0]);
    } else if (prefix && said == c->argc) {
        say(c, RULE_ALLOW, "a person allowed '%.80s', and it is no more than that", prefix);
        c->unknown = true;
    } else if (prefix) {
        say(c, RULE_ASK, "more than '%.60s', and what the rest makes of it is not known", prefix);
    } else {
        say(c, RULE_ASK, "%.60s is not known to be harmless", c->argv[0]);
    }
    if (strcmp(c->argv[0], "git") == 0 && c->verdict == RULE_ALLOW && c->argc > 1 && c->argv[1][0] != '-')
        judge_repository(c, place, !row || (row->flags & ASKED));
}

static void places_done(struct place *p)
{
    while (p->n)
        free(p->dirs[--p->n]);
}

/* A change of directory, for the commands behind it. In a pipe it is for itself alone, and so is nothing that makes sense. */
static void judge_cd(struct rule_line *l, size_t i, struct place *p)
{
    struct rule_command *c = &l->v[i];
    bool piped = c->join == '|' || (i && l->v[i - 1].join == '|');

    if (piped || c->argc != 2 || c->argv[1][0] == '-' || p->n == PLACES_MAX || !is_inside(p, c->argv[1])) {
        say(c, RULE_ASK, "cd leads out of the workspace, or it is not known where to");
        return;
    }
    say(c, RULE_ALLOW, "cd stays in the workspace");
    p->dirs[p->n] = path_resolve(p->dirs[p->n - 1], str_of(c->argv[1]));
    p->n++;
}

CO void rules_judge(struct env *env, const char *root, const char *from, struct str line, const char *const *allow, size_t nallow,
                    struct rule_line *ret)
{
    struct place place = { .env = env, .root = root, .dirs = { xstrdup(from) }, .n = 1 };
    const char *why = "it holds a zero byte";

    *ret = (struct rule_line){0};
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == ' '))
        line.n--;
    if (memchr(line.p ? line.p : "", 0, line.n) || !read_line(line, ret, &why) ||
        (why = "the shell is not in the workspace", !is_inside_from(root, "/", from))) {
        ret->verdict = RULE_ASK;
        snprintf(ret->why, sizeof(ret->why), "%s", why);
        for (size_t i = 0; i < ret->n; i++)
            say(&ret->v[i], RULE_ASK, "the line as a whole is not understood");
        places_done(&place);
        return;
    }
    ret->verdict = RULE_ALLOW;
    for (size_t i = 0; i < ret->n; i++) {
        if (strcmp(ret->v[i].argv[0], "cd") == 0)
            judge_cd(ret, i, &place);
        else
            judge(&ret->v[i], &place, allow, nallow);
        if (i == 0 || ret->v[i].verdict > ret->verdict) {
            ret->verdict = MAX(ret->verdict, ret->v[i].verdict);
            snprintf(ret->why, sizeof(ret->why), "%s", ret->v[i].why);
        }
    }
    places_done(&place);
}

void rules_done(struct rule_line *l)
{
    for (size_t i = 0; i < RULES_COMMANDS_MAX; i++) {
        for (size_t k = 0; k < l->v[i].argc; k++)
            free(l->v[i].argv[k]);
        free(l->v[i].argv);
    }
    *l = (struct rule_line){0};
}
