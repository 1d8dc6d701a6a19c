#include "provider/trouble.h"

#include "base/clock.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>

/* How services say that a request is too long: pieces that stand in the sentence or the code, in this order, in any case. */
static const char *const overflow_words[][2] = {
    { "prompt is too long", "" },                           { "input is too long", "" },
    { "request_too_large", "" },                            { "exceeds the context window", "" },
    { "input token count", "exceeds" },                     { "maximum prompt length is", "" },
    { "reduce the length of the", "" },                     { "maximum context length", "" },
    { "exceeds the limit of", "token" },                    { "token count of", "exceeds" },
    { "exceeds the available context size", "" },           { "greater than the context length", "" },
    { "context window exceeds", "" },                       { "exceeded model token limit", "" },
    { "too large for model", "context" },                   { "model_context_window_exceeded", "" },
    { "prompt too long", "context" },                       { "context_length_exceeded", "" },
    { "context length exceeded", "" },                      { "string_above_max_length", "" },
    { "exceeds the maximum number of tokens", "" },         { "longer than the model's context length", "" },
    { "exceeds the model's context", "" },                  { "range of input length should be", "" },
    { "exceed_context_size", "" },
};

/* What a service calls a state that passes, and one that does not, whatever its status. */
static const char *const passing[] = { "overloaded_error", "api_error", "timeout_error", "rate_limit_error", "server_error",
    "rate_limit_exceeded", "server_is_overloaded", "engine_overloaded", "UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED",
    "DEADLINE_EXCEEDED" };
static const char *const no_money[] = { "insufficient_quota", "billing_hard_limit_reached", "billing_error",
    "account_deactivated" };
static const char *const lasting[] = { "invalid_request_error",
    "authentication_error", "permission_error", "not_found_error", "invalid_api_key", "invalid_prompt",
    "model_not_found", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION" };
static const char *const too_many[] = { "rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED" };

static bool one_of(struct str word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n && word.n; i++)
        if (str_is(word, list[i]))
            return true;
    return false;
}

static struct str find_word(struct str text, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= text.n; i++)
        if (strncasecmp(text.p + i, word, n) == 0)
            return str_from(text, i + n);
    return (struct str){0};
}

static bool says_overflow(struct str text)
{
    for (size_t i = 0; i < ARRAY_SIZE(overflow_words) && text.n; i++) {
        struct str rest = find_word(text, overflow_words[i][0]);

        if (rest.p && (!*overflow_words[i][1] || find_word(rest, overflow_words[i][1]).p))
            return true;
    }
    return false;
}

/* The error inside a body: services wrap it, name it, or send it bare; some put all into a list. */
static const json_t *error_in(const json_t *body)
{
    const json_t *error;

    if (json_is_array(body))
        body = json_array_get(body, 0);
    error = json_object_get(body, "error");
    return json_is_object(error) ? error : body;
}

static struct str sentence(const json_t *error)
{
    static const char *const members[] = { "message", "error", "detail", "msg", "title" };
    struct str s = {0};

    for (size_t i = 0; i < ARRAY_SIZE(members) && !s.n; i++)
        s = js_str(error, members[i]);
    if (!s.n)
        s = js_str(json_array_get(json_object_get(error, "detail"), 0), "msg");
    return s;
}

struct trouble trouble_of(long status, const json_t *body)
{
    const json_t *error = error_in(body);
    struct str code = js_str(error, "code"), type = js_str(error, "type"), state = js_str(error, "status");
    bool in_stream = status == 0;
    struct trouble t = { .said = sentence(error) };

    if (in_stream)
        status = (long)js_int(error, "code", js_int(error, "status_code", 0));
    t.overflow = status == 413 || says_overflow(t.said) || says_overflow(code) || says_overflow(type) ||
                 (status == 400 && !t.said.n && !code.n);
    t.limited = status == 429 || one_of(code, too_many, ARRAY_SIZE(too_many)) || one_of(type, too_many, ARRAY_SIZE(too_many)) ||
                one_of(state, too_many, ARRAY_SIZE(too_many));
    if (status)
        t.retry = status == 408 || status == 409 || status == 425 || status == 429 || (status >= 500 && status != 501);
    else
        t.retry = in_stream;
    if (one_of(code, passing, ARRAY_SIZE(passing)) || one_of(type, passing, ARRAY_SIZE(passing)))
        t.retry = t.named = true;
    t.named = t.named || (in_stream && status);
    /* A status says more than the kind of error beside it, which some give for all of theirs. */
    if (one_of(code, lasting, ARRAY_SIZE(lasting)) ||
        (in_stream && (one_of(type, lasting, ARRAY_SIZE(lasting)) || one_of(state, lasting, ARRAY_SIZE(lasting)))))
        t.retry = t.limited = false;
    if (one_of(code, no_money, ARRAY_SIZE(no_money)) || one_of(type, no_money, ARRAY_SIZE(no_money)) || t.overflow)
        t.retry = t.limited = false;
    return t;
}

int64_t wait_number(struct str text, double unit_ms)
{
    char copy[64], *end;
    double v;

    text = str_trim(text);
    if (!text.n || text.n >= sizeof(copy) || !(isdigit((unsigned char)text.p[0]) || text.p[0] == '.'))
        return -1;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    v = strtod(copy, &end);
    if (*end || !isfinite(v) || v < 0 || strpbrk(copy, "xXpP"))
        return -1;
    return v * unit_ms >= (double)WAIT_FOREVER ? WAIT_FOREVER : (int64_t)ceil(v * unit_ms);
}

int64_t wait_date(struct str text, int64_t now)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y",
                                         "%Y-%m-%dT%H:%M:%SZ" };
    char copy[64];
    const char *dot;
    struct tm tm;
    int64_t at;

    text = str_trim(text);
    if (!text.n || text.n >= sizeof(copy))
        return -1;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    dot = strchr(copy, '.');
    if (dot && copy[text.n - 1] == 'Z')             /* fractions of a second */
        memcpy((char *)dot, "Z", 2);
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        const char *end;

        memset(&tm, 0, sizeof(tm));
        end = strptime(copy, forms[i], &tm);
        if (!end || *end)
            continue;
        at = (int64_t)timegm(&tm) - now / NS_PER_S;
        return at <= 0 ? 0 : MIN(at, WAIT_FOREVER / 1000) * 1000;
    }
    return -1;
}

int64_t wait_duration(struct str text)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = { { "ms", 1 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 } };
    double sum = 0;

    text = str_trim(text);
    if (!text.n)
        return -1;
    while (text.n) {
        size_t digits = 0, i;
        int64_t part;

        while (digits < text.n && (isdigit((unsigned char)text.p[digits]) || text.p[digits] == '.'))
            digits++;
        for (i = 0; i < ARRAY_SIZE(units); i++)
            if (text.n - digits >= strlen(units[i].unit) && memcmp(text.p + digits, units[i].unit, strlen(units[i].unit)) == 0)
                break;
        if (!digits || i == ARRAY_SIZE(units))
            return -1;
        part = wait_number(str_head(text, digits), units[i].ms);
        if (part < 0)
            return -1;
        sum += (double)part;
        text = str_from(text, digits + strlen(units[i].unit));
    }
    return sum >= (double)WAIT_FOREVER ? WAIT_FOREVER : (int64_t)sum;
}

/* Google puts it into the body's details. */
static int64_t wait_in(const json_t *body)
{
    const json_t *details = json_object_get(error_in(body), "details"), *each;
    size_t i;

    json_array_foreach(details, i, each) {
        struct str delay = js_str(each, "retryDelay");

        if (delay.n)
            return wait_duration(delay);
    }
    return -1;
}

/* When a limit that is used up is restored. */
static int64_t wait_limits(struct http *h, int64_t now)
{
    static const char *const limits[][2] = {
        { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" },
        { "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" },
        { "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset" },
        { "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset" },
        { "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset" },
    };
    int64_t longest = -1;

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct str reset = http_header(h, limits[i][1]);
        int64_t wait;

        if (!str_is(http_header(h, limits[i][0]), "0"))
            continue;
        wait = wait_date(reset, now);
        if (wait < 0)
            wait = wait_duration(reset);
        if (wait < 0)
            wait = wait_number(reset, 1000);
        longest = MAX(longest, wait);
    }
    return longest;
}

int64_t trouble_wait(struct http *h, const json_t *body, int64_t now)
{
    struct str after = http_header(h, "retry-after");
    int64_t wait = wait_number(http_header(h, "retry-after-ms"), 1);

    if (wait < 0)
        wait = wait_number(after, 1000);
    if (wait < 0)
        wait = wait_date(after, now);
    if (wait < 0)
        wait = wait_in(body);
    return wait < 0 ? wait_limits(h, now) : wait;
}
