/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a simulated device does with its rings and with the driver's memory: sim_device_step, and
 * the device's end. The device's thread calls all of this; a device without one is stepped by its
 * test.
 */
#ifndef XB_TESTS_SIM_RINGS_H
#define XB_TESTS_SIM_RINGS_H

#include "sim/sim_device.h"

struct sim_packet *sim_list_take(struct sim_device *sim, struct sim_list *list);

/** Gives up the rings of a pair. Up to its last moment it reads and writes what is posted there. */
void sim_pair_leave(struct sim_device *sim, struct sim_pair *pair);

#endif
