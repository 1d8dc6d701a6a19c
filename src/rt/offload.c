#include "rt/offload.h"

#include "rt/loop.h"

static void work(uv_work_t *req)
{
    struct job *j = req->data;

    j->run(j);
}

static void after(uv_work_t *req, int status)
{
    struct job *j = req->data;

    (void)status;
    free(req);
    j->finished = true;
    if (j->abandoned)
        j->free(j);
    else
        gate_open(&j->done, 0);
}

CO int offload(struct job *j, const char *why, int64_t timeout_ms)
{
    uv_work_t *req = xcalloc(1, sizeof(*req));
    int r;

    req->data = j;
    r = uv_queue_work(loop_uv(), req, work, after);
    assert(r == 0);
    r = gate_wait(&j->done, why, timeout_ms);
    if (r < 0) {
        if (j->finished)
            j->free(j);
        else
            j->abandoned = true;
    }
    return r;
}

void job_free(struct job *j)
{
    if (j)
        j->free(j);
}
