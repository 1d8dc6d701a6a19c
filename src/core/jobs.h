/* jobs.h - the commands of a session that go on between its calls. */
#pragma once

#include "core/session.h"

/* Makes the jobs that still run this rein's own, and logs what became of the others while no rein was there. */
CO int jobs_take_up(struct session *s);

/* Ends those that are not to stay, because the session ends. */
CO void jobs_end(struct session *s);
