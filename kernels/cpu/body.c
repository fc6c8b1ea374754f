/*
 * The operations of the CPU backend for one instruction set: see cpu.h. The compiler's flags say
 * which; CPU_OPS_NAME and CPU_OPS_LABEL name the table.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

#include "kernels/cpu/product.c"
#include "kernels/cpu/linear.c"
#include "kernels/cpu/norm.c"
#include "kernels/cpu/activation.c"
#include "kernels/cpu/embed.c"
#include "kernels/cpu/frames.c"
#include "kernels/cpu/conv.c"
#include "kernels/cpu/coef.c"
#include "kernels/cpu/scan.c"
#include "kernels/cpu/scan_backward.c"
#include "kernels/cpu/loss.c"
#include "kernels/cpu/sample.c"
#include "kernels/cpu/optimiser.c"
#include "kernels/cpu/decode_pack.c"
#include "kernels/cpu/decode_step.c"
#include "kernels/cpu/decode_tiers.c"
#include "kernels/cpu/decode_state.c"
#include "kernels/cpu/decode_team.c"
#include "kernels/cpu/decode.c"
#include "kernels/cpu/workspace.c"
#include "kernels/cpu/limits.c"

const struct ops CPU_OPS_NAME = {
    .name = CPU_OPS_LABEL,
    .scan_chunk = CPU_SCAN_CHUNK,
    .workspace = op_workspace,
    .coef_size = op_coef_size,
    .embed = op_embed,
    .embed_backward = op_embed_backward,
    .codes_slice = op_codes_slice,
    .label_add = op_label_add,
    .label_add_backward = op_label_add_backward,
    .rmsnorm = op_rmsnorm,
    .rmsnorm_backward = op_rmsnorm_backward,
    .linear = op_linear,
    .linear_backward = op_linear_backward,
    .conv_silu = op_conv_silu,
    .conv_silu_backward = op_conv_silu_backward,
    .coef = op_coef,
    .coef_backward = op_coef_backward,
    .scan = op_scan,
    .scan_backward = op_scan_backward,
    .gelu = op_gelu,
    .gelu_backward = op_gelu_backward,
    .glu = op_glu,
    .glu_backward = op_glu_backward,
    .add = op_add,
    .frames_gather = op_frames_gather,
    .frames_gather_backward = op_frames_gather_backward,
    .frames_emit = op_frames_emit,
    .frames_emit_backward = op_frames_emit_backward,
    .cross_entropy = op_cross_entropy,
    .sample = op_sample,
    .decoder_open = op_decoder_open,
    .decoder_close = decoder_close,
    .decoder_import = op_decoder_import,
    .decoder_export = op_decoder_export,
    .decode = op_decode,
    .decoder_threads = op_decoder_threads,
    .sum_squares = op_sum_squares,
    .sum_add = op_sum_add,
    .adamw = op_adamw,
    .limit_multiply = op_limit_multiply,
    .limit_exp = op_limit_exp,
    .limit_read = op_limit_read,
    .limit_product = op_limit_product,
    .limit_state = op_limit_state,
};
