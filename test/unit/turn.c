/* turn_next over logs that are written here line by line, and the requests that any prefix of a log makes. */
#include "core/turn.h"

#include "test.h"

#include <stdio.h>

struct line {
    enum kind kind;
    const char *body;
};

static const struct line session = { EV_SESSION, "{\"cwd\":\"/w\",\"mode\":\"open\",\"limits\":{\"steps\":3}}" };

static void fold(struct view *v, struct context *c, const struct line *l)
{
    struct buf b = {0};
    json_t *j = NULL;
    struct event *ev;
    struct err e;

    buf_adds(&b, l->body);
    ev = event_new(l->kind, v->seq + 1, 0, 0, 0, &b);
    assert_int_equal(js_parse(ev->body, &j, &e), 0);
    assert_int_equal(view_fold(v, ev, j, &e), 0);
    if (c)
        assert_int_equal(context_fold(c, v, ev, j), 0);
    json_decref(j);
    event_free(ev);
}

static struct step after(const struct line *lines, size_t n, uint64_t epoch, int64_t now)
{
    struct view v = { .epoch = epoch };
    struct step s;

    fold(&v, NULL, &session);
    for (size_t i = 0; i < n; i++)
        fold(&v, NULL, &lines[i]);
    s = turn_next(&v, &(struct reserve){ .tokens = 5000, .cost = 7 }, now);
    view_done(&v);
    return s;
}

#define NEXT(epoch, now, ...) after((const struct line[]){ __VA_ARGS__ }, \
                                    sizeof((const struct line[]){ __VA_ARGS__ }) / sizeof(struct line), epoch, now)

#define USER    { EV_USER, "{\"text\":\"hi\"}" }
#define REQUEST { EV_REQUEST, "{}" }
#define CALLS   { EV_ANSWER, "{\"text\":\"\",\"finish\":\"tool_calls\",\"calls\":[{\"id\":\"a\",\"name\":\"bash\",\"args\":\"{}\"}," \
                             "{\"id\":\"b\",\"name\":\"read\",\"args\":\"{}\"}]}" }
#define INTENT(call, epoch, effect) { EV_INTENT, "{\"call\":\"" call "\",\"epoch\":" epoch ",\"effect\":\"" effect "\"}" }
#define RESULT(call) { EV_RESULT, "{\"call\":\"" call "\",\"outcome\":\"ok\",\"text\":\"out " call "\"}" }
#define ASK(call) { EV_ASK, "{\"call\":\"" call "\"}" }
#define REPLY(call, word) { EV_REPLY, "{\"call\":\"" call "\",\"answer\":\"" word "\"}" }
#define TEXT(finish) { EV_ANSWER, "{\"text\":\"done\",\"finish\":\"" finish "\",\"calls\":[]}" }
#define FAULT(retry, at) { EV_FAULT, "{\"retry\":" retry ",\"retry_at\":" at ",\"why\":\"no\"}" }

static void conversation(void **state)
{
    (void)state;
    assert_int_equal(NEXT(1, 0, { EV_SET, "{}" }).kind, STEP_IDLE);
    assert_int_equal(NEXT(1, 0, USER).kind, STEP_MODEL);
    assert_int_equal(NEXT(2, 0, USER, REQUEST).kind, STEP_MODEL);             /* killed while the model answered */
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("stop")).kind, STEP_END);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("stop")).end, END_DONE);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("length")).end, END_FAILED);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("content_filter")).end, END_UNREACHABLE);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("stop"), { EV_END, "{\"outcome\":\"done\"}" }).kind, STEP_IDLE);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("stop"), { EV_END, "{\"outcome\":\"done\"}" }, USER).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, { EV_END, "{\"outcome\":\"budget\"}" }, { EV_SET, "{\"resumed\":true}" }).kind, STEP_MODEL);
}

static void calls(void **state)
{
    (void)state;
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS).kind, STEP_CALLS);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), RESULT("4.1")).kind, STEP_CALLS);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, RESULT("4.2"), RESULT("4.1")).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, ASK("4.1")).kind, STEP_WAIT);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, ASK("4.1"), REPLY("4.1", "yes")).kind, STEP_CALLS);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, ASK("4.1"), REPLY("4.1", "no")).kind, STEP_CALLS);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, CALLS, ASK("4.1"), REPLY("9.9", "yes")).kind, STEP_WAIT);
}

static void recovery(void **state)
{
    (void)state;
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque")).kind, STEP_RECOVER);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "probe")).kind, STEP_RECOVER);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "pure")).kind, STEP_CALLS);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), ASK("4.1")).kind, STEP_WAIT);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), ASK("4.1"), REPLY("4.1", "yes")).kind, STEP_CALLS);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), ASK("4.1"), REPLY("4.1", "skip")).kind, STEP_CALLS);
    assert_int_equal(NEXT(2, 0, USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), ASK("4.1"), REPLY("4.1", "abort")).end, END_FAILED);
}

static void limits(void **state)
{
    (void)state;
    assert_int_equal(NEXT(1, 5, USER, REQUEST, FAULT("true", "10")).kind, STEP_SLEEP);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, FAULT("true", "10")).until, 10);
    assert_int_equal(NEXT(1, 11, USER, REQUEST, FAULT("true", "10")).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 11, USER, REQUEST, FAULT("true", "10"), REQUEST, FAULT("false", "10")).end, END_UNREACHABLE);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, { EV_FAULT, "{\"retry\":true,\"retry_at\":9000000000000,\"wait\":2}" }).until, 2000005);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, { EV_FAULT, "{\"class\":\"overflow\",\"retry\":false}" }).kind, STEP_SQUEEZE);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, { EV_FAULT, "{\"class\":\"overflow\",\"retry\":false}" },
                          { EV_COMPACT, "{\"before\":9,\"after\":4}" }).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, { EV_FAULT, "{\"class\":\"overflow\",\"retry\":false}" },
                          { EV_COMPACT, "{\"before\":9,\"after\":9}" }).end, END_UNREACHABLE);
    assert_int_equal(NEXT(1, 5, USER, REQUEST, { EV_FAULT, "{\"class\":\"overflow\",\"retry\":false}" },
                          { EV_COMPACT, "{\"before\":9,\"after\":4}" }, REQUEST,
                          { EV_FAULT, "{\"class\":\"overflow\",\"retry\":false}" }).end, END_UNREACHABLE);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, TEXT("pause")).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, { EV_SET, "{\"limits\":{\"cost\":7}}" }).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, { EV_SET, "{\"limits\":{\"cost\":6}}" }).end, END_BUDGET);
    /* A request that a crash left without an answer has cost what was set aside for it. */
    assert_int_equal(NEXT(1, 0, USER, { EV_SET, "{\"limits\":{\"cost\":9}}" }, { EV_REQUEST, "{\"reserve_cost\":3}" }).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, { EV_SET, "{\"limits\":{\"cost\":9}}" }, { EV_REQUEST, "{\"reserve_cost\":3}" },
                          { EV_SET, "{\"resumed\":true}" }).end, END_BUDGET);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, FAULT("false", "0")).end, END_UNREACHABLE);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, FAULT("false", "0"), { EV_SET, "{\"resumed\":true}" }).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, REQUEST, REQUEST).end, END_BUDGET);
    assert_int_equal(NEXT(1, 0, USER, REQUEST, REQUEST, REQUEST, USER).kind, STEP_MODEL);
    assert_int_equal(NEXT(1, 0, USER, { EV_SET, "{\"limits\":{\"tokens\":100}}" }).end, END_BUDGET);
    assert_int_equal(NEXT(1, 2000000000, USER, { EV_SET, "{\"limits\":{\"seconds\":1}}" }).end, END_BUDGET);
}

/* A log of everything, cut after every event: each request pairs every call with a result, and begins with the one before. */
static void any_prefix_is_legal(void **state)
{
    static const struct line log[] = {
        USER, REQUEST, CALLS, INTENT("4.1", "1", "opaque"), RESULT("4.2"), USER, RESULT("4.1"), REQUEST, CALLS, RESULT("10.1"), USER,
        { EV_END, "{\"outcome\":\"interrupted\"}" }, USER, REQUEST, CALLS, CALLS, RESULT("17.1"), RESULT("17.1"), RESULT("99.1"), RESULT("17.2"),
        TEXT("stop"),
    };

    (void)state;
    for (size_t n = 1; n <= sizeof(log) / sizeof(log[0]); n++) {
        const struct provider *p = provider_find(LIT("chat"));
        const struct service service = { .name = "s" };
        struct model m = { .name = (char *)"m", .id = (char *)"s/m", .service = &service };
        struct harness h = {0};
        struct view v = { .epoch = 1 };
        struct context c;
        struct request rq = {0};
        struct buf body = {0};
        json_t *j = NULL, *msg;
        struct hash hash, real;
        size_t repeated, i, open = 0;
        struct err e;

        context_init(&c, p, &m, false);
        assert_int_equal(context_head(&c, &h, "system", "id"), 0);
        fold(&v, &c, &session);
        for (i = 0; i < n; i++)
            fold(&v, &c, &log[i]);
        context_request(&c, &rq, &hash, &repeated);
        for (i = 0; i < rq.nparts; i++)
            buf_add_str(&body, rq.parts[i]);
        assert_int_equal(body.n, rq.bytes);
        real = hash_bytes(buf_str(&body));
        assert_true(hash_eq(&real, &hash));
        assert_int_equal(js_parse(buf_str(&body), &j, &e), 0);
        json_array_foreach(json_object_get(j, "messages"), i, msg) {
            struct str role = js_str(msg, "role");

            if (str_is(role, "tool")) {
                assert_true(open > 0);
                open--;
            } else {
                assert_int_equal(open, 0);
                open = json_array_size(json_object_get(msg, "tool_calls"));
            }
        }
        assert_int_equal(open, 0);
        json_decref(j);
        buf_done(&body);
        context_done(&c);
        view_done(&v);
    }
}

/* The chain: a changed body, an event moved, a label changed, all show. */
static void chain(void **state)
{
    struct hash zero = {0}, one, two;
    struct buf b = {0};
    struct event *ev;

    (void)state;
    buf_adds(&b, "{\"text\":\"hi\"}");
    ev = event_new(EV_USER, 1, 77, 0, FROM_USER, &b);
    one = event_hash(ev, &zero);
    ev->labels = FROM_WEB;
    two = event_hash(ev, &zero);
    assert_false(hash_eq(&one, &two));
    ev->labels = FROM_USER;
    ev->time++;
    two = event_hash(ev, &zero);
    assert_false(hash_eq(&one, &two));
    ev->time--;
    two = event_hash(ev, &one);
    assert_false(hash_eq(&one, &two));
    two = event_hash(ev, &zero);
    assert_true(hash_eq(&one, &two));
    ev->salt[3] = 1;
    two = event_hash(ev, &zero);
    assert_false(hash_eq(&one, &two));
    event_free(ev);
}

RUN(T(conversation), T(calls), T(recovery), T(limits), T(any_prefix_is_legal), T(chain))
