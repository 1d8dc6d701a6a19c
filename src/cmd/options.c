/* options.c - every option, once: the flag, its help and its place come from the row. */
#include "cmd/cmd.h"

enum type { TEXT, NUMBER, SECONDS, DOLLARS, SWITCH, LIST };     /* seconds are kept in ms, dollars in billionths */

struct row {
    const char *flag;
    char letter;
    enum type type;
    size_t offset;
    const char *value, *help;
};

#define AT(member) offsetof(struct options, member)

/* Options that are about one call, and so have no place in a configuration, are at the end. */
static const struct row rows[] = {
    { "model",         'm', TEXT,   AT(model),         "PROVIDER/NAME", "the model to ask, or a role of the configuration" },
    { "effort",        0,   TEXT,   AT(effort),        "WORD",  "how hard it thinks: off, low, medium, high, max" },
    { "base-url",      0,   TEXT,   AT(base_url),      "URL",   "where its API is" },
    { "api",           0,   TEXT,   AT(api),           "NAME",  "what it speaks: chat, messages, responses, gemini" },
    { "key-env",       0,   TEXT,   AT(key_env),       "VAR",   "environment variable that holds its key" },
    { "harness",       0,   TEXT,   AT(harness),       "NAME|DIR", "prompts, tools and limits to run with; default coder" },
    { "mode",          0,   TEXT,   AT(mode),          "MODE",
      "auto: a box holds what is done (default where there is one); plan: and nothing stays before you say so; ask: what changes "
      "something is asked; open: none of these" },
    { "images",        0,   TEXT,   AT(images),        "yes|no", "whether the model takes images; default: as is known of it" },
    { "max-steps",     0,   NUMBER, AT(max_steps),     "N",     "model requests per message" },
    { "budget-tokens", 0,   NUMBER, AT(budget_tokens), "N",     "tokens of the whole session, in and out" },
    { "budget-usd",    0,   DOLLARS, AT(budget_usd),   "X",     "dollars that the whole session may cost" },
    { "budget",        0,   TEXT,   AT(budget),        "NAME",  "a budget of the configuration, which sessions share" },
    { "timeout",       0,   NUMBER, AT(timeout),       "S",     "seconds that this run may take" },
    { "retries",       0,   NUMBER, AT(retries),       "N",     "how often a request that failed is made again; default 5" },
    { "backoff",       0,   SECONDS, AT(backoff),      "S",     "wait before the first time, doubled each time; default 0.5" },
    { "patience",      0,   SECONDS, AT(patience),     "S",     "how long a service may ask to wait; default 120" },
    { "connect-timeout", 0, SECONDS, AT(connect_timeout), "S",  "to a connection; default 15" },
    { "first-timeout", 0,   SECONDS, AT(first_timeout), "S",    "to the first word, twice that with signs of life; default 300" },
    { "idle-timeout",  0,   SECONDS, AT(idle_timeout), "S",     "between words, five times that with signs of life; default 60" },
    { "request-timeout", 0, SECONDS, AT(request_timeout), "S",  "for a whole answer; default 1800" },
    { "ca",            0,   TEXT,   AT(ca),            "FILE",  "certificates to trust beside the system's" },
    { "cert",          0,   TEXT,   AT(cert),          "FILE",  "certificate that this side shows" },
    { "cert-key",      0,   TEXT,   AT(cert_key),      "FILE",  "and its key" },
    { "dir",           'C', TEXT,   AT(dir),           "DIR",   "work in this directory" },
    { "decide",        0,   LIST,   AT(decide),        "CALL|all=WORD", "for a call in doubt: done, retry, skip or abort" },
    { "answer",        0,   LIST,   AT(answer),        "CALL|all=WORD", "for a call that waits: yes, no, or yes to all like it "
        "in this session or always; to a question words, or a number" },
    { "tier",          0,   TEXT,   AT(tier),          "NAME",
      "box: no better one than live or landlock, though the machine may have it" },
    { "layer",         0,   TEXT,   AT(layer),         "keep|ask|drop|off",
      "box: the command changes a layer over the workspace, and what becomes of that; in a session keep, as usual, or off" },
    { "report",        0,   TEXT,   AT(report),        "FILE",  "box: write what happened to a file instead of stderr" },
    { "allow",         0,   LIST,   AT(allow),         "PREFIX", "rules test: a command that a person has allowed" },
    { "older",         0,   NUMBER, AT(older),         "DAYS",  "gc: also sessions in which nothing happened for so long" },
    { "dry-run",       0,   SWITCH, AT(dry_run),       NULL,    "gc: say what would be removed; redo: list what waits" },
    { "turn",          0,   SWITCH, AT(turn),          NULL,    "undo: all that came of the last message" },
    { "what",          0,   TEXT,   AT(what),          "files|talk|both", "undo: files, the talk (a fork goes on), or both" },
    { "last",          0,   SWITCH, AT(last),          NULL,    "the session made last" },
    { "json",          0,   SWITCH, AT(json),          NULL,    "print JSON, one object a line" },
    { "quiet",         'q', SWITCH, AT(quiet),         NULL,    "print nothing but the answer" },
    { "stats",         0,   TEXT,   AT(stats),         "FILE",  "write the counters of this run to a file" },
    { "print",         'p', SWITCH, AT(print),         NULL,    "the same as exec" },
    { "help",          'h', SWITCH, AT(help),          NULL,    "the same as help" },
    { "version",       'V', SWITCH, AT(version),       NULL,    "the same as version" },
};

static const struct row *find(const char *arg, const char **ret_value)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t n = strlen(rows[i].flag);

        *ret_value = NULL;
        if (arg[1] == '-' && strncmp(arg + 2, rows[i].flag, n) == 0 && (arg[2 + n] == 0 || arg[2 + n] == '=')) {
            if (arg[2 + n] == '=')
                *ret_value = arg + 3 + n;
            return &rows[i];
        }
        if (rows[i].letter && arg[1] == rows[i].letter) {
            if (arg[2])
                *ret_value = arg + 2;
            return &rows[i];
        }
    }
    return NULL;
}

static int set(struct options *opt, const struct row *row, const char *value, struct err *e)
{
    void *place = (char *)opt + row->offset;
    struct list *list = place;
    double amount;
    char *end;

    switch (row->type) {
    case TEXT:
        *(const char **)place = value;
        return 0;
    case NUMBER:
        errno = 0;
        *(int64_t *)place = strtoll(value, &end, 10);
        if (errno || *end || end == value || *(int64_t *)place < 1)
            return err_set(e, -EINVAL, "--%s takes a whole number from 1 on, not '%s'", row->flag, value);
        return 0;
    case SECONDS:
    case DOLLARS:
        amount = strtod(value, &end);
        if (*end || end == value || !(amount > 0 && amount < 1e9) || strpbrk(value, "xXnN"))
            return err_set(e, -EINVAL, "--%s takes a number above 0, not '%s'", row->flag, value);
        *(int64_t *)place = MAX((int64_t)(amount * (row->type == SECONDS ? 1e3 : 1e9) + .5), INT64_C(1));
        return 0;
    case LIST:
        if (list->n == LIST_MAX)
            return err_set(e, -E2BIG, "--%s was given more than %d times", row->flag, LIST_MAX);
        list->v[list->n++] = value;
        return 0;
    case SWITCH:
        *(bool *)place = true;
        return 0;
    }
    return 0;
}

int options_parse(struct options *opt, char **argv, size_t n, char **args, size_t *ret_nargs, struct err *e)
{
    bool only_args = false;
    int r;

    *ret_nargs = 0;
    for (size_t i = 0; i < n; i++) {
        const struct row *row;
        const char *value;

        if (only_args || argv[i][0] != '-' || argv[i][1] == 0) {
            args[(*ret_nargs)++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_args = true;
            continue;
        }
        row = find(argv[i], &value);
        if (!row)
            return err_set(e, -EINVAL, "there is no option %s; `rein help` lists them", argv[i]);
        if (row->type == SWITCH && value)
            return err_set(e, -EINVAL, "--%s takes no value", row->flag);
        if (row->type != SWITCH && !value) {
            if (i + 1 == n)
                return err_set(e, -EINVAL, "--%s needs a value: %s", row->flag, row->value);
            value = argv[++i];
        }
        r = set(opt, row, value, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int options_config(struct options *opt, const char *name, const json_t *value, struct err *e)
{
    for (const struct row *row = rows; row->offset != AT(dir); row++) {
        void *place = (char *)opt + row->offset;
        char number[32];

        if (strlen(row->flag) != strlen(name) || strncmp(row->flag, name, strlen(name)) != 0)
            continue;
        if (row->type == TEXT ? *(const char **)place != NULL : *(int64_t *)place != 0)
            return 0;
        if (json_is_string(value))
            return set(opt, row, json_string_value(value), e);
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
        if (!json_is_integer(value) || row->type == TEXT)
            return err_set(e, -EINVAL, "%s takes a %s", name, row->type == TEXT ? "word" : "number");
        return set(opt, row, number, e);
    }
    return err_set(e, -EINVAL, "there is no setting '%s'", name);
}

void options_help(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        cleanup(freep) char *flag = xasprintf("--%s%s%s", rows[i].flag, rows[i].value ? " " : "",
                                              rows[i].value ? rows[i].value : "");

        buf_addf(out, "  %c%c%s %-28s %s\n", rows[i].letter ? '-' : ' ', rows[i].letter ? rows[i].letter : ' ',
                 rows[i].letter ? "," : " ", flag, rows[i].help);
    }
}
