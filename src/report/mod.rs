//! placeholder
#![allow(missing_docs)]
use std::io::{self, Write};
use std::path::Path;
use crate::cli::Output;
pub mod view { 
 use std::path::Path; use crate::record::{*, jsonl::RecordError};
 pub struct RunView{pub n:usize, pub failed:bool}
 impl RunView{ pub fn read(p:&Path)->Result<Self,RecordError>{ let mut n=0; let mut failed=false; crate::record::jsonl::read(p,|l| match l { Line::Repetition(r)=>{n+=1; let s:u64=r.calls.iter().filter(|c|c.phase==crate::measure::Phase::Decode).map(|c|c.step_ns()).sum(); let t:u64=r.calls.iter().filter(|c|c.phase==crate::measure::Phase::Decode).map(|c|u64::from(c.n_tokens)).sum(); println!("{} {} {:.1} t/s", r.case_id, r.replicate, t as f64/s as f64*1e9)}, Line::Cell(c)=>{ if c.outcome.is_failure(){failed=true;} println!("{} {:?} {}", c.case_id, c.replicate, c.outcome)}, _=>{} })?; Ok(Self{n,failed}) }
 pub fn any_failed(&self)->bool{self.failed} pub fn any_measured(&self)->bool{self.n>0} }
}
pub mod progress { use crate::run::{Observer,Event,eta::Eta}; use crate::plan::Plan;
 struct P; impl Observer for P { fn event(&mut self, e: Event<'_>, eta:&Eta){ match e { Event::RepetitionDone{..}=>{}, e=> eprintln!("{:?} {:?} {:?}", e, eta.remaining(), eta.visits()) } } }
 pub fn for_stderr(_p:&Plan)->Box<dyn Observer>{Box::new(P)}
 pub fn file_work(_l:&str)->Box<dyn FnMut(u64,u64)>{Box::new(|_,_|{})}
}
pub mod dry_run { use crate::plan::{Case,budget::MemoryPrice};
 #[derive(Debug)]
 pub struct DryRow{pub case:Case,pub price:MemoryPrice,pub fits:Result<(),(u64,u64)>,pub time:std::time::Duration}
 pub fn for_stdout(r:&[DryRow])->String{format!("{r:#?}")} }
pub fn print(_v:&view::RunView,_o:Output,_w:&mut dyn Write)->io::Result<()>{Ok(())}
pub fn write_files(_v:&view::RunView,_f:&Path)->io::Result<()>{Ok(())}
