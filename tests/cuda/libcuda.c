/* The functions of libcuda that the target calls, as a library that says on its output what it is given: what reaches the
   driver through the real bindings. Memory is the host's; nothing is executed. */
#define _GNU_SOURCE
#include <string.h>
#include <stdio.h>
#include <stdint.h>
#include <dlfcn.h>
typedef int CUresult;
static char mem[1<<24]; static size_t used=256;
#define E __attribute__((visibility("default")))
E CUresult cuInit(unsigned f){return 0;}
E CUresult cuDriverGetVersion(int*v){*v=13000;return 0;}
E CUresult cuDeviceGetCount(int*c){*c=1;return 0;}
E CUresult cuDeviceGet(int*d,int o){*d=o;return 0;}
E CUresult cuDeviceGetName(char*n,int l,int d){strncpy(n,"C fake",l);return 0;}
E CUresult cuDeviceGetAttribute(int*v,int a,int d){*v = a==75?9: a==76?0: a==16?132: a==95?1: 7; return 0;}
E CUresult cuDevicePrimaryCtxRetain(void**c,int d){*c=(void*)0x1111;return 0;}
E CUresult cuCtxSetCurrent(void*c){return c==(void*)0x1111?0:201;}
E CUresult cuStreamCreate(void**s,unsigned f){*s=(void*)0x2222; return f==1?0:1;}
E CUresult cuStreamSynchronize(void*s){return s==(void*)0x2222?0:400;}
E CUresult cuMemAlloc_v2(uint64_t*p,size_t n){*p=(uint64_t)(mem+used);used+=(n+255)/256*256;return 0;}
E CUresult cuMemFree_v2(uint64_t p){return 0;}
E CUresult cuMemGetInfo_v2(size_t*f,size_t*t){*f=sizeof mem-used;*t=sizeof mem;return 0;}
E CUresult cuMemcpyHtoDAsync_v2(uint64_t d,const void*s,size_t n,void*st){memcpy((void*)d,s,n);return st==(void*)0x2222?0:400;}
E CUresult cuMemcpyDtoH_v2(void*d,uint64_t s,size_t n){memcpy(d,(void*)s,n);return 0;}
E CUresult cuMemcpyDtoDAsync_v2(uint64_t d,uint64_t s,size_t n,void*st){printf("dtod %zu\n",n);memcpy((void*)d,(void*)s,n);return 0;}
E CUresult cuModuleLoadData(void**m,const char*i){printf("image %02x%c%c%c\n",(unsigned char)i[0],i[1],i[2],i[3]);*m=(void*)0x3333;return 0;}
E CUresult cuModuleGetFunction(void**f,void*m,const char*n){printf("function %s\n",n);*f=(void*)0x4444;return m==(void*)0x3333?0:400;}
E CUresult cuFuncSetAttribute(void*f,int a,int v){printf("attribute %d %d\n",a,v);return f==(void*)0x4444?0:400;}
E CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int*n,void*f,int b,size_t s){*n=2;printf("occupancy %d %zu\n",b,s);return 0;}
static CUresult show(const char*w,void*f,unsigned gx,unsigned gy,unsigned gz,unsigned bx,unsigned by,unsigned bz,unsigned sh,void*st,void**p,void**e){
 printf("%s %d grid %u %u %u block %u %u %u shared %u stream %d args %llx %llx %d extra %p\n",w,f==(void*)0x4444,gx,gy,gz,bx,by,bz,sh,st==(void*)0x2222,
  (unsigned long long)*(uint64_t*)p[0],(unsigned long long)*(uint64_t*)p[1],*(int32_t*)p[2],(void*)e); return 0;}
E CUresult cuLaunchKernel(void*f,unsigned gx,unsigned gy,unsigned gz,unsigned bx,unsigned by,unsigned bz,unsigned sh,void*st,void**p,void**e){return show("launch",f,gx,gy,gz,bx,by,bz,sh,st,p,e);}
E CUresult cuLaunchCooperativeKernel(void*f,unsigned gx,unsigned gy,unsigned gz,unsigned bx,unsigned by,unsigned bz,unsigned sh,void*st,void**p){return show("together",f,gx,gy,gz,bx,by,bz,sh,st,p,0);}
E CUresult cuStreamBeginCapture_v2(void*s,int m){printf("begin mode %d\n",m);return 0;}
E CUresult cuStreamEndCapture(void*s,void**g){*g=(void*)0x5555;return 0;}
E CUresult cuGraphInstantiateWithFlags(void**x,void*g,unsigned long long f){printf("instantiate %d %llu\n",g==(void*)0x5555,f);*x=(void*)0x6666;return 0;}
E CUresult cuGraphDestroy(void*g){return g==(void*)0x5555?0:400;}
E CUresult cuGraphExecDestroy(void*g){printf("destroyed\n");return g==(void*)0x6666?0:400;}
E CUresult cuGraphLaunch(void*g,void*s){printf("graph %d\n",g==(void*)0x6666);return 0;}
E CUresult cuGetErrorName(int e,const char**n){*n="CUDA_ERROR_FAKE";return 0;}
/* The newest version of a function, as the driver gives it. */
static CUresult get(const char*s,void**f,int v,uint64_t fl,int*st){
 const char*forms[]={"%s_v3","%s_v2","%sWithFlags","%s"}; char b[200]; void*self=dlopen("libcuda.so.1",RTLD_NOW); *f=0;
 for(int k=0;k<4&&!*f;k++){snprintf(b,sizeof b,forms[k],s);*f=dlsym(self,b);}
 if(st)*st=*f?0:1; return 0;}
E CUresult cuGetProcAddress_v2(const char*s,void**f,int v,uint64_t fl,int*st){return get(s,f,v,fl,st);}
E CUresult cuGetProcAddress(const char*s,void**f,int v,uint64_t fl){return get(s,f,v,fl,0);}
