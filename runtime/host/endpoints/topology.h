/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a topology file says about a particle system and a bare stream of coordinates does not: how many atoms, their types and masses,
 * bonds, the periodic cell. Reads LAMMPS data files, GROMACS structure files (.gro) and PDB files. The text is not trusted: memory is
 * bounded by its length, and every mistake is reported with its line. Control path, any thread.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_TOPOLOGY_H
#define IOG_RUNTIME_HOST_ENDPOINTS_TOPOLOGY_H

#include "core/base.h"

enum iog_topology_format { IOG_TOPOLOGY_LAMMPS, IOG_TOPOLOGY_GRO, IOG_TOPOLOGY_PDB };

/*
 * Atoms are in the order the simulation sends them: by id for LAMMPS, as in the file for the others. Lengths are in the unit of a LAMMPS
 * file, in Angstrom from the others. Types are those of LAMMPS, or the atomic number guessed from element or name, 0 when unknown.
 */
struct iog_topology {
	int64_t atoms, bonds;
	int32_t *type; /* [atoms] */
	double *mass;  /* [atoms], NULL when the file has none */
	int32_t *bond; /* [bonds][2], indices of atoms from 0 */
	bool has_box;
	double box[9]; /* rows a, b, c */
	double origin[3];
};

/* .gro, .pdb and .ent by their ending, everything else is taken for a LAMMPS data file. */
enum iog_topology_format iog_topology_guess(const char *path);
/* name is for messages. t is valid (and must be finished) only when the result is 0. */
int iog_topology_parse(
	struct iog_topology *t, const char *text, size_t len, enum iog_topology_format format, const char *name, struct iog_err *err);
int iog_topology_load(struct iog_topology *t, const char *path, struct iog_err *err);
/* Frees what parse allocated; t itself is the caller's. */
void iog_topology_finish(struct iog_topology *t);

#endif
