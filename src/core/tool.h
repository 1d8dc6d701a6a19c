/* tool.h - what a model can do: one struct and one file per tool, one row in src/tool/table.def.
 *
 * The words a model reads about a tool (description, parameters) are a file of the harness: tools/NAME.json.
 *
 * A call goes through three functions, each of which may already close it with a result:
 *
 *     prepare   looks and makes ready, has no effect, and writes down in the plan what recovery has to know
 *               -- the intent, with the plan in it, is made durable --
 *     run       acts
 *               -- the result is made durable --
 *     settle    instead of run, after a crash between the two: finds out what became of it
 *
 * They return 0, or a negative errno that stops the session; a tool that fails is a result. */
#pragma once

#include "base/js.h"
#include "core/env.h"
#include "core/grants.h"
#include "core/view.h"

enum effect {
    EFFECT_PURE,            /* changes nothing: repeat freely */
    EFFECT_KEYED,           /* repeat with the same key */
    EFFECT_PROBE,           /* settle can tell */
    EFFECT_ATOMIC,          /* has not happened unless it was committed */
    EFFECT_OPAQUE,          /* may have happened in part */
};

enum outcome {
    OUT_OPEN,               /* no result yet */
    OUT_OK,
    OUT_ERROR,              /* the tool failed */
    OUT_DENIED,             /* policy or a person said no */
    OUT_CANCELLED,          /* stopped on the way; what was done is said */
    OUT_NOT_DONE,           /* rein was killed before it happened */
    OUT_UNKNOWN,            /* rein was killed, and nobody can tell */
};

const char *outcome_name(enum outcome o);
const char *effect_name(enum effect e);

/* How text begins that stands in place of a secret. It never reaches a file. */
#define REDACTED "[redacted by rein"

struct harness;

struct result {
    enum outcome outcome;
    struct buf text;        /* for the model; bounded before it enters the log */
    struct buf facts;       /* JSON members for the log, begun with '{' and not closed: {"exit":0 */
    struct buf image;       /* in base64, for models that take images; empty as a rule */
    const char *image_type; /* "image/png" */
    struct buf files;       /* JSON objects for the log, one after the other, of content that the model has seen */
};

struct call {
    const struct tool *tool;
    enum effect effect;
    json_t *args;           /* an object */
    struct env *env;
    const struct view *view;
    const struct harness *harness;
    const char *session;    /* its id, which keys begin with */
    const char *name;       /* ANSWER.INDEX, for people and models */
    const char *key;        /* names the call in env */
    const char *hide_env;
    bool plain;             /* it was allowed for what its words are (policy.h) */
    bool listed;            /* it was allowed for the host that it names, whose name may lead to public addresses only */
    const char *said;       /* a person's reply to a tool that asks, else NULL */
    struct result *result;

    struct buf plan;        /* JSON members, begun with '{' and not closed */
    json_t *planned;        /* for settle: the plan as it was logged */
    bool same_life;         /* for settle: the machine was not restarted since */
    bool foreign;           /* for settle: another session's call, which may be running: look, and touch nothing */
    void *state;            /* what prepare keeps for run */
    void (*state_free)(void *);
};

struct tool {
    const char *name;
    enum effect effect;
    enum effect (*effect_of)(const json_t *args);       /* where it depends on them; may be NULL */
    bool asks;                          /* a person answers it: it runs when there is a reply, which is call.said */
    uint32_t origin;                    /* labels of what it brings in, beside FROM_TOOL */
    enum grant_kind grant;              /* how a call of it may be allowed for more than once (grants.h) */
    /* Says for what: files as the arguments name them, hosts. NULL: GRANT_NONE, and GRANT_RUN, whose command the rules read. */
    void (*needs)(const json_t *args, void (*each)(void *arg, struct str what), void *arg);
    const char *title_args;             /* the arguments that say most, for the one line shown to people; "a b" */
    CO int (*prepare)(struct call *c);  /* may be NULL */
    CO int (*run)(struct call *c);
    CO int (*settle)(struct call *c);   /* NULL: pure, simply run again */
};

const struct tool *tool_find(struct str name);

/* The effect of a call. Pure calls run in parallel and are never asked about. */
static inline enum effect tool_effect(const struct tool *t, const json_t *args)
{
    return t->effect_of ? t->effect_of(args) : t->effect;
}

/* Closes the call. Returns 0, since a failed tool is a result; a cancel (-ECANCELED) it hands back unchanged. */
int result_fail(struct result *res, int r, const char *fmt, ...) printf_fmt(3, 4);
void result_ok(struct result *res);

/* Records content the model has now seen: view_known() will find it. `h` NULL: the file is gone. `charset`: what it is in, NULL for
 * UTF-8. */
void result_file(struct result *res, const char *path, const struct hash *h, const char *charset);

/* Appends text to the result with its middle taken out when it is longer than head + tail bytes, cut at characters and
 * preferably at lines; the cut says what is missing and how to get it (`hint`, may be NULL). */
void result_bounded(struct result *res, struct str text, size_t head, size_t tail, const char *hint);

/* The same for a text whose middle was never read: `head` and `tail` are its ends, `left_out` bytes lie between. */
void result_ends(struct result *res, struct str head, struct str tail, int64_t left_out, const char *hint);

/* A required text argument, or false with the call closed by a sentence for the model. */
bool call_text(struct call *c, const char *name, struct str *ret);

/* Names what a call would do: the tool, and its arguments as they were understood. Returns `ret`. */
const char *call_hash(const struct tool *tool, const json_t *args, char ret[HASH_HEX]);

/* All of a call for a person who has to decide about it, with nothing left out or hidden: its arguments, a line each or more. */
void call_words(const json_t *args, struct buf *out);

/* The call in one line for people: "bash make test". */
void call_title(const struct tool *tool, const char *name, const json_t *args, struct buf *out);
