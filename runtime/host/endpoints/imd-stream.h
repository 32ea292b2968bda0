/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of an IMD session (versions 2 and 3) as a state machine without I/O: it says where the next bytes belong and what they came
 * to. Nothing the peer sends makes it allocate, and no length of the peer's is believed before it was checked against what the graph was
 * told. One thread per object.
 *
 * A header is two big-endian int32, type and length; the handshake's second word is the version in the peer's own byte order, which all
 * bodies are in. Version 3 announces with SESSIONINFO which packets make a frame; they come in a fixed order.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_IMD_STREAM_H
#define IOG_RUNTIME_HOST_ENDPOINTS_IMD_STREAM_H

#include "core/base.h"

enum iog_imd_type {
	IOG_IMD_DISCONNECT,
	IOG_IMD_ENERGIES,
	IOG_IMD_COORDINATES,
	IOG_IMD_GO,
	IOG_IMD_HANDSHAKE,
	IOG_IMD_KILL,
	IOG_IMD_MDCOMM,
	IOG_IMD_PAUSE,
	IOG_IMD_TRATE,
	IOG_IMD_IOERROR,
	IOG_IMD_SESSIONINFO,
	IOG_IMD_RESUME,
	IOG_IMD_TIME,
	IOG_IMD_BOX,
	IOG_IMD_VELOCITIES,
	IOG_IMD_FORCES,
	IOG_IMD_WAIT,
	IOG_IMD_TYPES
};

enum iog_imd_event {
	IOG_IMD_MORE,  /* nothing complete yet */
	IOG_IMD_READY, /* the peer has said who it is: send GO */
	IOG_IMD_FRAME, /* a frame is complete; valid until the next call of iog_imd_got */
	IOG_IMD_END,   /* the peer ended the session */
	IOG_IMD_BAD,   /* it broke the protocol: err says how */
};

struct iog_imd {
	/* set by the caller, before iog_imd_init */
	uint32_t version; /* 2 or 3: what the graph was told */
	bool want_velocity, want_force, want_box, want_energies;
	int64_t atoms, max_atoms;           /* exact count, -1: not known; and the room in the arrays below */
	float *position, *velocity, *force; /* [max_atoms][3]; velocity and force NULL unless wanted */

	/* a frame, in this machine's byte order */
	uint32_t seen; /* bit per packet type */
	float box[9];
	int32_t energy_step;
	float energy[9]; /* T, total, potential, van der Waals, Coulomb, bonds, angles, dihedrals, impropers */
	double dt, time;
	int64_t step, n_atoms; /* n_atoms: -1 before the first frame */

	/* private */
	bool swap, shaken, ready, frame_out;
	uint32_t state, type, frame_mask;
	uint64_t have, need;
	uint8_t header[8], small[64], waste[4096];
};

void iog_imd_init(struct iog_imd *m);
/* Where the next bytes of the stream go, *n > 0 at most. */
uint8_t *iog_imd_room(struct iog_imd *m, size_t *n);
/* n bytes went there. */
enum iog_imd_event iog_imd_got(struct iog_imd *m, size_t n, struct iog_err *err);
/* True in the middle of a packet or of a frame: more is due soon. */
bool iog_imd_partial(const struct iog_imd *m);

#endif
