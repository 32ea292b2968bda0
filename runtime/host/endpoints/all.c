/* SPDX-License-Identifier: BSD-3-Clause */
/* Every source and every sink, in plain sight. */
#include "runtime/host/endpoint.h"

extern const struct iog_source iog_source_imd;
extern const struct iog_source iog_source_record;
extern const struct iog_source iog_source_stream;
extern const struct iog_source iog_source_synthetic;
extern const struct iog_sink iog_sink_files;
#ifdef IOG_HAVE_HDF5
extern const struct iog_sink iog_sink_h5md;
#endif
extern const struct iog_sink iog_sink_image;
extern const struct iog_sink iog_sink_null;
extern const struct iog_sink iog_sink_record;
extern const struct iog_sink iog_sink_stream;
extern const struct iog_sink iog_sink_table;

const struct iog_source *const iog_sources[] = {
	&iog_source_imd,
	&iog_source_record,
	&iog_source_stream,
	&iog_source_synthetic,
	NULL,
};

const struct iog_sink *const iog_sinks[] = {
	&iog_sink_files,
#ifdef IOG_HAVE_HDF5
	&iog_sink_h5md,
#endif
	&iog_sink_image,
	&iog_sink_null,
	&iog_sink_record,
	&iog_sink_stream,
	&iog_sink_table,
	NULL,
};
