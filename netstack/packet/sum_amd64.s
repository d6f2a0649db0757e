#include "textflag.h"

// Y0 to Y3 are sums of 32-bit words in 64-bit lanes, Y7 the mask of the lower word of each lane.

#define BEGIN \
	VPXOR    Y0, Y0, Y0; \
	VPXOR    Y1, Y1, Y1; \
	VPXOR    Y2, Y2, Y2; \
	VPXOR    Y3, Y3, Y3; \
	VPCMPEQD Y7, Y7, Y7; \
	VPSRLQ   $32, Y7, Y7

#define ADD \
	VPSRLQ $32, Y4, Y6; \
	VPAND  Y7, Y4, Y4; \
	VPADDQ Y6, Y0, Y0; \
	VPADDQ Y4, Y1, Y1; \
	VPSRLQ $32, Y5, Y6; \
	VPAND  Y7, Y5, Y5; \
	VPADDQ Y6, Y2, Y2; \
	VPADDQ Y5, Y3, Y3

#define END \
	VPADDQ       Y1, Y0, Y0; \
	VPADDQ       Y3, Y2, Y2; \
	VPADDQ       Y2, Y0, Y0; \
	VEXTRACTI128 $1, Y0, X1; \
	VPADDQ       X1, X0, X0; \
	VPSRLDQ      $8, X0, X1; \
	VPADDQ       X1, X0, X0; \
	VMOVQ        X0, AX; \
	VZEROUPPER

// func sumBlocks(b *byte, blocks int) uint64
TEXT ·sumBlocks(SB), NOSPLIT, $0-24
	MOVQ b+0(FP), SI
	MOVQ blocks+8(FP), CX
	BEGIN

sum:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	ADD
	ADDQ    $64, SI
	DECQ    CX
	JNZ     sum
	END
	MOVQ    AX, ret+16(FP)
	RET

// func copySumBlocks(to, b *byte, blocks int) uint64
TEXT ·copySumBlocks(SB), NOSPLIT, $0-32
	MOVQ to+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ blocks+16(FP), CX
	BEGIN

copysum:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU Y4, (DI)
	VMOVDQU Y5, 32(DI)
	ADD
	ADDQ    $64, SI
	ADDQ    $64, DI
	DECQ    CX
	JNZ     copysum
	END
	MOVQ    AX, ret+24(FP)
	RET
