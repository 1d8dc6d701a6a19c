/* job.h - talking to a job. What comes over a connection, one message each, is answered with one byte, 'o' or 'x':
 *
 *   w            watch: for as long as this connection stands, the job has an owner
 *   i KEY\n TEXT  text for the job's standard input, noted under KEY; x: that is closed, or does not take it
 *   f KEY\n      the same: end of the input
 *   p            nothing: the answer says that all that was sent before, by others too, has been dealt with
 *   k            end it */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_MAX   (256 << 10)         /* bytes that wait to be read by the job */
#define CONNECTIONS 16

/* What a job has beside a command: people who talk to it. */
struct job {
    int listen, in;                     /* in: the pipe to its standard input, or its terminal; -1 when closed */
    bool close_in;                      /* once all is written */
    bool tty;
    char input[INPUT_MAX];
    size_t waiting;
    struct { int fd; bool watches; } conn[CONNECTIONS];
    int n;
    int64_t alone_since;                /* nobody watches; -1: someone does */
};

/* Writes to the standard input what it takes now. */
void job_pump(struct job *j);

/* Talks to whoever wants to, the eldest first. `spool`: the file with the report. True: somebody asked for the end. */
bool job_talk(struct job *j, int spool);
