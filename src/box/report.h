/* report.h - the head of a spool file, which rein reads (env/local_impl.h has the same); it is drawn in rein-box.c. */
#pragma once

#define REPORT_SIZE 4096                /* bytes before the output */
#define REPORT_LAST 3072                /* in it: the key of the input that was taken last */
