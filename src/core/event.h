/* event.h - one line of a session's log. Immutable once made.
 *
 * The hash of an event covers everything before it:
 *
 *     hash = SHA-256(previous hash, head, SHA-256(salt, body))
 *
 *     head, 40 bytes, little-endian:
 *       0  u16  format       EVENT_FORMAT
 *       2  u16  kind         the number in EVENT_KINDS
 *       4  u32  labels
 *       8  u64  seq
 *      16  i64  time         nanoseconds since 1970, wall clock
 *      24  u64  cause        seq of the event that led to this one, 0 for none
 *      32  u64  body length
 *
 * The previous hash of a session's first event is zero; of a fork's first event, its parent's hash at that seq. The
 * salt is random, so that a body that was erased cannot be guessed from what is left. */
#pragma once

#include "base/buf.h"
#include "base/hash.h"

#define EVENT_FORMAT   1
#define EVENT_BODY_MAX ((size_t)1 << 20)    /* bytes; what is larger is spilled to a handle or refused before */
#define EVENT_BLOB_MIN ((size_t)16 << 10)   /* larger bodies are stored once by content */
#define EVENT_SALT     16

/* Number, enumerator, name. Numbers are on disk and never change. */
#define EVENT_KINDS(X)                                                                                     \
    X(1, SESSION, "session") X(2, SET, "set") X(3, END, "end")                                             \
    X(4, USER, "user") X(5, STEER, "steer") X(6, ASK, "ask") X(7, REPLY, "reply") X(8, FEEDBACK, "feedback") \
    X(9, REQUEST, "request") X(10, ANSWER, "answer") X(11, FAULT, "fault")                                 \
    X(12, INTENT, "intent") X(13, RESULT, "result")                                                        \
    X(14, SNAPSHOT, "snapshot") X(15, COMMIT, "commit") X(16, UNDO, "undo")                                \
    X(17, JOB, "job") X(18, SPAWN, "spawn") X(19, JOIN, "join")                                            \
    X(20, DECIDE, "decide") X(21, HOOK, "hook") X(22, PLAN, "plan") X(23, MEMO, "memo")                    \
    X(24, COMPACT, "compact") X(25, BUDGET, "budget") X(26, QUOTA, "quota")                                \
    X(27, ANOMALY, "anomaly") X(28, ROLLBACK, "rollback") X(29, TAKEOVER, "takeover") X(30, VERDICT, "verdict") \
    X(31, GRANT, "grant") X(32, TRUST, "trust") X(33, IMPORT, "import") X(34, ERASE, "erase") X(35, WIRE, "wire")

enum kind {
#define X(number, NAME, text) EV_##NAME = number,
    EVENT_KINDS(X)
#undef X
};

/* Where an item comes from, and who may see it; joined by OR. */
enum label {
    FROM_USER = 1 << 0,
    FROM_SYSTEM = 1 << 1,       /* rein itself */
    FROM_WORKSPACE = 1 << 2,
    FROM_TOOL = 1 << 3,
    FROM_MCP = 1 << 4,
    FROM_WEB = 1 << 5,
    FROM_AGENT = 1 << 6,
    FROM_MODEL = 1 << 7,
    IS_PRIVATE = 1 << 8,
};

struct event {
    enum kind kind;
    uint32_t labels;
    uint64_t seq, cause;
    int64_t time;
    bool erased;
    uint8_t salt[EVENT_SALT];
    struct hash hash;
    struct str body;            /* JSON text, owned, zero-terminated */
};

/* Takes the bytes of `body` over. The hash is not yet set. */
struct event *event_new(enum kind kind, uint64_t seq, int64_t time, uint64_t cause, uint32_t labels, struct buf *body);
void event_free(struct event *ev);              /* takes NULL */

struct hash event_hash(const struct event *ev, const struct hash *previous);

const char *kind_name(enum kind kind);          /* "?" for a number that this rein does not know */
bool kind_known(int number);

/* Appends the event as one JSON line without the newline: what --json prints. */
void event_json(struct buf *out, const char *session, const struct event *ev);
