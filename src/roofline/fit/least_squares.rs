//! Least squares with coefficients that cannot be negative, for a handful of columns.

/// A solution of `rows * x = 1`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Solution {
    /// One for each column; 0 for those left out.
    pub x: Vec<f64>,
    /// Inverse of the normal matrix, 0 where a column was left out.
    pub inverse: Vec<Vec<f64>>,
    pub n_used: usize,
    pub rss: f64,
}

/// A column whose own part, beside the others, is less than this share of it says nothing of its own.
const DEPENDENT: f64 = 1e-7;

/// Minimises the squared distance of `rows * x` from 1 over `x >= 0`: relative residuals, when each row and its
/// value were divided by the value.
///
/// Exact, by trying every subset of the columns (Lawson & Hanson's optimum is the best feasible one of them;
/// there are at most four). Of subsets that fit equally well, the one with fewer columns, and among these one
/// without the first column, by convention the constant. `None` without a feasible one.
pub(super) fn solve(rows: &[Vec<f64>]) -> Option<Solution> {
    let n = rows.first()?.len();
    let mut subsets: Vec<u32> = (1..1_u32 << n).collect();
    subsets.sort_by_key(|s| (s.count_ones(), s & 1));
    let mut best: Option<Solution> = None;
    for subset in subsets {
        let columns: Vec<usize> = (0..n).filter(|c| subset >> c & 1 == 1).collect();
        let Some(found) = solve_columns(rows, &columns) else {
            continue;
        };
        let better = best
            .as_ref()
            .is_none_or(|b| found.rss < b.rss * (1.0 - 1e-9) - 1e-18);
        if better {
            best = Some(found);
        }
    }
    best
}

fn solve_columns(rows: &[Vec<f64>], columns: &[usize]) -> Option<Solution> {
    let k = columns.len();
    if k > rows.len() {
        return None;
    }
    // Columns of length 1: their units differ by many powers of ten.
    let norms: Vec<f64> = columns
        .iter()
        .map(|&c| rows.iter().map(|r| r[c] * r[c]).sum::<f64>().sqrt())
        .collect();
    if norms.iter().any(|n| !n.is_finite() || *n <= 0.0) {
        return None;
    }
    let column = |row: &[f64], i: usize| row[columns[i]] / norms[i];
    let mut normal = vec![vec![0.0; k]; k];
    let mut right = vec![0.0; k];
    for row in rows {
        for (i, (right, normal)) in right.iter_mut().zip(&mut normal).enumerate() {
            *right += column(row, i);
            for (j, normal) in normal.iter_mut().enumerate() {
                *normal += column(row, i) * column(row, j);
            }
        }
    }
    let inverse = invert(normal)?;
    let scaled: Vec<f64> = inverse
        .iter()
        .map(|row| row.iter().zip(&right).map(|(a, b)| a * b).sum())
        .collect();
    if scaled.iter().any(|x: &f64| !x.is_finite() || *x < 0.0) {
        return None;
    }
    let n = rows[0].len();
    let mut solution = Solution {
        x: vec![0.0; n],
        inverse: vec![vec![0.0; n]; n],
        n_used: k,
        rss: 0.0,
    };
    for (i, &c) in columns.iter().enumerate() {
        solution.x[c] = scaled[i] / norms[i];
        for (j, &d) in columns.iter().enumerate() {
            solution.inverse[c][d] = inverse[i][j] / norms[i] / norms[j];
        }
    }
    let residual = |row: &Vec<f64>| 1.0 - dot(row, &solution.x);
    solution.rss = rows.iter().map(|row| residual(row).powi(2)).sum();
    Some(solution)
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Gauss and Jordan's, with pivots; `None` for a matrix of unit columns that is nearly singular.
fn invert(mut a: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let n = a.len();
    let mut inverse: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    for step in 0..n {
        let pivot = (step..n).max_by(|&i, &j| a[i][step].abs().total_cmp(&a[j][step].abs()))?;
        // The squared share of the column that the earlier ones do not explain.
        if a[pivot][step].abs() < DEPENDENT * DEPENDENT {
            return None;
        }
        a.swap(step, pivot);
        inverse.swap(step, pivot);
        let by = a[step][step];
        for j in 0..n {
            a[step][j] /= by;
            inverse[step][j] /= by;
        }
        for i in (0..n).filter(|&i| i != step) {
            let factor = a[i][step];
            for j in 0..n {
                a[i][j] -= factor * a[step][j];
                inverse[i][j] -= factor * inverse[step][j];
            }
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `columns = value`, divided by the value.
    fn relative(rows: &[(&[f64], f64)]) -> Vec<Vec<f64>> {
        rows.iter()
            .map(|(row, value)| row.iter().map(|x| x / value).collect())
            .collect()
    }

    #[test]
    fn a_line_is_found_whatever_the_units() {
        let rows = relative(&[(&[1.0, 1e9], 7.0), (&[1.0, 2e9], 9.0), (&[1.0, 5e9], 15.0)]);
        let s = solve(&rows).expect("a line");
        assert!(
            (s.x[0] - 5.0).abs() < 1e-9 && (s.x[1] - 2e-9).abs() < 1e-18,
            "{s:?}"
        );
        assert!(s.rss < 1e-20 && s.n_used == 2);
    }

    #[test]
    fn nothing_is_negative() {
        // Best line 10 - B: the constant alone is the best feasible answer.
        let rows = relative(&[(&[1.0, 1.0], 9.0), (&[1.0, 2.0], 8.0), (&[1.0, 3.0], 7.0)]);
        let s = solve(&rows).expect("a constant");
        assert_eq!(s.n_used, 1);
        assert!(s.x[0] > 7.0 && s.x[0] < 9.0 && s.x[1] == 0.0, "{s:?}");
    }

    #[test]
    fn a_dependent_column_is_left_out_and_it_is_the_constant() {
        // bytes = 100 + 10 B, flops = B: with the constant one too many.
        let rows: Vec<Vec<f64>> = (1..6)
            .map(|b| {
                let b = f64::from(b);
                let t = 100.0 + 10.0 * b + 5.0 * b;
                vec![1.0 / t, (100.0 + 10.0 * b) / t, b / t]
            })
            .collect();
        let s = solve(&rows).expect("two columns");
        assert_eq!((s.n_used, s.x[0]), (2, 0.0));
        assert!(
            (s.x[1] - 1.0).abs() < 1e-6 && (s.x[2] - 5.0).abs() < 1e-6,
            "{s:?}"
        );
        assert_eq!(solve(&[]), None);
        assert_eq!(solve(&[vec![0.0]]), None);
    }

    #[test]
    fn the_inverse_is_one() {
        let a = vec![
            vec![4.0, 1.0, 0.5],
            vec![1.0, 3.0, 0.2],
            vec![0.5, 0.2, 2.0],
        ];
        let inverse = invert(a.clone()).expect("regular");
        for (i, row) in a.iter().enumerate() {
            for j in 0..3 {
                let product: f64 = row.iter().zip(&inverse).map(|(a, b)| a * b[j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }
}
