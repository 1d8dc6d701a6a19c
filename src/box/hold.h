/* hold.h - the namespaces of a session, made once and held: commands enter them (confine.h). */
#pragma once

#include "box/profile.h"

/* Makes them and says so to a socket: "ERRNO PID WHAT", with (port not 0) a socket that listens on that port of their loopback.
 * They are held until the other end of `to` is closed. The program's status. */
int box_serve_hold(int to, const struct profile *p, int port);
